//! The format against its reference implementation, and one test for each way a file can be wrong.

use std::{io::Read as _, io::Write as _, num::NonZeroUsize};

use age::secrecy::ExposeSecret;
use glacier_asset::{
    AgeIdentity, AssetError, CHUNK_BYTES, FileKey, Header, Malformed, Opened, Opener, Parsed, Recipient, Sealed,
    Sealer, generate_file_key, parse_recipient, print_recipient,
};
use proptest::prelude::*;

const SEALED_CHUNK: usize = CHUNK_BYTES + 16;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn seal(key: &FileKey, recipients: &[Recipient], content: &[u8], step: usize) -> (Vec<u8>, Sealed) {
    let mut sealer = Sealer::new(key, recipients).unwrap();
    let mut file = Vec::new();
    for part in content.chunks(step.max(1)) {
        sealer.push(part, &mut file).unwrap();
    }
    let sealed = sealer.finish(&mut file).unwrap();
    (file, sealed)
}

fn open(key: &FileKey, file: &[u8], step: usize, threads: usize) -> Result<(Vec<u8>, Opened), AssetError> {
    let mut opener = Opener::new(key).with_threads(NonZeroUsize::new(threads).unwrap());
    let mut out = Vec::new();
    for part in file.chunks(step.max(1)) {
        opener.push(part, &mut out)?;
    }
    let opened = opener.finish(&mut out)?;
    Ok((out, opened))
}

/// A file of ours with this much content, its key, and where its payload's first chunk begins.
fn sample(len: usize) -> (FileKey, Vec<u8>, usize) {
    let key = generate_file_key().unwrap();
    let owner = AgeIdentity::generate().unwrap();
    let (file, _) = seal(&key, &[owner.recipient()], &content(len), usize::MAX);
    let payload = header(&file).1 + 16;
    (key, file, payload)
}

fn header(file: &[u8]) -> (Header, usize) {
    match Header::parse(file).unwrap() {
        Parsed::Complete { header, len } => (header, len),
        Parsed::NeedsMore => panic!("the whole header is there"),
    }
}

fn error_of(key: &FileKey, file: &[u8]) -> AssetError {
    let errors: Vec<_> = [(7919, 1), (usize::MAX, 1), (usize::MAX, 3)]
        .map(|(step, threads)| open(key, file, step, threads).unwrap_err())
        .into();
    assert!(errors.iter().all(|error| *error == errors[0]), "the error depends on how bytes came: {errors:?}");
    errors[0]
}

fn age_decrypt(file: &[u8], identity: &age::x25519::Identity) -> Vec<u8> {
    let mut reader =
        age::Decryptor::new(file).unwrap().decrypt(std::iter::once(identity as &dyn age::Identity)).unwrap();
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    content
}

fn age_encrypt(content: &[u8], recipients: &[&dyn age::Recipient]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer =
        age::Encryptor::with_recipients(recipients.iter().copied()).unwrap().wrap_output(&mut file).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    file
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        0usize..4,
        (1usize..4, -2isize..3).prop_map(|(chunks, around)| (chunks * CHUNK_BYTES).saturating_add_signed(around)),
        0..5 * CHUNK_BYTES,
    ]
}

fn steps() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..200, 60_000usize..70_000, Just(SEALED_CHUNK), Just(1 << 20)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn age_opens_what_we_seal(len in lengths(), step in 1usize..200_000) {
        let theirs = age::x25519::Identity::generate();
        let other = AgeIdentity::generate().unwrap();
        let key = generate_file_key().unwrap();
        let recipients = [other.recipient(), parse_recipient(&theirs.to_public().to_string()).unwrap()];
        let content = content(len);
        let (file, sealed) = seal(&key, &recipients, &content, step);
        prop_assert_eq!(age_decrypt(&file, &theirs), content);
        prop_assert_eq!(sealed.digest.0, *blake3::hash(&file).as_bytes());
        prop_assert_eq!(sealed.ciphertext_bytes, file.len() as u64);
        prop_assert_eq!(sealed.plaintext_bytes, len as u64);
        prop_assert_eq!(Sealer::ciphertext_len(2, len as u64), file.len() as u64);
    }

    #[test]
    fn we_open_what_age_seals(len in lengths(), step in steps(), threads in 1usize..4) {
        let theirs = age::x25519::Identity::generate();
        let ours = AgeIdentity::parse(theirs.to_string().expose_secret()).unwrap();
        let content = content(len);
        let file = age_encrypt(&content, &[&theirs.to_public()]);
        let key = header(&file).0.unwrap(&ours).unwrap();
        let (opened, facts) = open(&key, &file, step, threads).unwrap();
        prop_assert_eq!(opened, content);
        prop_assert_eq!(facts.digest.0, *blake3::hash(&file).as_bytes());
        prop_assert_eq!(facts.ciphertext_bytes, file.len() as u64);
        prop_assert_eq!(facts.plaintext_bytes, len as u64);
    }

    #[test]
    fn any_flipped_bit_is_refused(len in lengths(), at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let (key, mut file, _) = sample(len);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(open(&key, &file, 1 << 20, 2).is_err());
    }

    #[test]
    fn any_cut_is_refused_and_releases_only_a_prefix(len in lengths(), at in any::<prop::sample::Index>()) {
        let (key, file, _) = sample(len);
        let mut out = Vec::new();
        let mut opener = Opener::new(&key);
        opener.push(&file[..at.index(file.len())], &mut out).unwrap();
        prop_assert!(opener.finish(&mut out).is_err());
        prop_assert!(content(len).starts_with(&out));
    }

    #[test]
    fn a_header_reads_the_same_however_much_follows(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, file, payload) = sample(10);
        let mut longer = file[..payload - 16].to_vec();
        longer.extend_from_slice(&noise);
        prop_assert_eq!(header(&longer), header(&file));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), body in ".{0,80}\n{0,3}.{0,80}") {
        let _ = Header::parse(&bytes);
        for prefix in ["", "age-encryption.org/v1\n", "age-encryption.org/v1\n-> X25519 ", "age-encryption.org/v1\n-> a\n\n--- "] {
            let _ = Header::parse(format!("{prefix}{body}").as_bytes());
            let _ = Header::parse(&[prefix.as_bytes(), &bytes].concat());
        }
    }
}

#[test]
fn stanzas_of_other_kinds_do_not_matter_to_who_has_the_file_key() {
    struct Foreign;
    impl age::Recipient for Foreign {
        fn wrap_file_key(
            &self,
            _: &age_core::format::FileKey,
        ) -> Result<(Vec<age_core::format::Stanza>, std::collections::HashSet<String>), age::EncryptError> {
            let stanza = |body: usize| age_core::format::Stanza {
                tag: "unheard-of".into(),
                args: vec!["~!@#$%^&*()".into(), "2".into()],
                body: vec![7; body],
            };
            Ok(([0, 1, 47, 48, 49, 96, 200].map(stanza).into(), Default::default()))
        }
    }
    let theirs = age::x25519::Identity::generate();
    let ours = AgeIdentity::parse(theirs.to_string().expose_secret()).unwrap();
    let file = age_encrypt(b"content", &[&Foreign, &theirs.to_public()]);
    let header = header(&file).0;
    assert!(header.recipients() >= 8); // age adds a stanza of its own invention now and then
    assert_eq!(open(&header.unwrap(&ours).unwrap(), &file, 1, 1).unwrap().0, b"content");
}

#[test]
fn a_stranger_finds_no_stanza() {
    let (_, file, _) = sample(10);
    assert_eq!(header(&file).0.unwrap(&AgeIdentity::generate().unwrap()).unwrap_err(), AssetError::NoMatch);
}

#[test]
fn another_files_key_opens_nothing() {
    let (_, file, _) = sample(10);
    assert_eq!(error_of(&generate_file_key().unwrap(), &file), AssetError::MacMismatch);
}

#[test]
fn a_swapped_stanza_breaks_the_mac() {
    // The host exchanges whom the file is encrypted to.
    let (key, file, _) = sample(10);
    let (_, other, _) = sample(10);
    let stanzas = 22..22 + 54 + 44;
    let mut forged = file.clone();
    forged[stanzas.clone()].copy_from_slice(&other[stanzas]);
    assert_eq!(error_of(&key, &forged), AssetError::MacMismatch);
}

#[test]
fn nothing_is_released_before_the_mac_is_checked() {
    let (_, file, _) = sample(3 * CHUNK_BYTES);
    let mut out = Vec::new();
    assert_eq!(Opener::new(&generate_file_key().unwrap()).push(&file, &mut out), Err(AssetError::MacMismatch));
    assert!(out.is_empty());
}

#[test]
fn an_error_stays() {
    let (key, mut file, payload) = sample(10);
    file[0] = b'b';
    let mut opener = Opener::new(&key);
    let mut out = Vec::new();
    let error = Err(AssetError::Malformed(Malformed::Version));
    assert_eq!(opener.push(&file, &mut out), error);
    assert_eq!(opener.push(&file[payload..], &mut out), error);
    assert_eq!(opener.finish(&mut out).map(drop), error);
}

#[test]
fn a_bad_chunk_takes_its_push_with_it() {
    let (key, mut file, payload) = sample(3 * CHUNK_BYTES);
    file[payload + SEALED_CHUNK + 5] ^= 1;
    for threads in [1, 3] {
        let mut opener = Opener::new(&key).with_threads(NonZeroUsize::new(threads).unwrap());
        let mut out = b"before".to_vec();
        opener.push(&file[..payload], &mut out).unwrap();
        assert_eq!(opener.push(&file[payload..], &mut out), Err(AssetError::ChunkTampered { chunk: 1 }));
        assert_eq!(out, b"before");
    }
}

#[test]
fn exchanged_chunks_are_named() {
    let (key, mut file, payload) = sample(3 * CHUNK_BYTES);
    let (first, second) = file[payload..payload + 2 * SEALED_CHUNK].split_at_mut(SEALED_CHUNK);
    first.swap_with_slice(second);
    assert_eq!(error_of(&key, &file), AssetError::ChunkTampered { chunk: 0 });
}

#[test]
fn a_missing_chunk_in_the_middle_is_named() {
    let (key, mut file, payload) = sample(4 * CHUNK_BYTES);
    file.drain(payload + SEALED_CHUNK..payload + 2 * SEALED_CHUNK);
    assert_eq!(error_of(&key, &file), AssetError::ChunkTampered { chunk: 1 });
}

#[test]
fn missing_last_chunks_are_truncation() {
    let (key, file, payload) = sample(3 * CHUNK_BYTES);
    assert_eq!(error_of(&key, &file[..payload + 2 * SEALED_CHUNK]), AssetError::Truncated);
}

#[test]
fn a_header_nonce_or_payload_that_is_missing_is_truncation() {
    let (key, file, payload) = sample(10);
    for end in [0, 5, 30, payload - 20, payload - 16, payload - 1, payload, payload + 15] {
        assert_eq!(error_of(&key, &file[..end]), AssetError::Truncated, "cut at {end}");
    }
}

#[test]
fn a_cut_within_the_last_chunk_is_refused() {
    let (key, file, _) = sample(100);
    assert_eq!(error_of(&key, &file[..file.len() - 1]), AssetError::ChunkTampered { chunk: 0 });
}

#[test]
fn bytes_after_a_full_last_chunk_are_trailing() {
    let (key, mut file, _) = sample(2 * CHUNK_BYTES);
    file.push(0);
    assert_eq!(error_of(&key, &file), AssetError::TrailingData);
}

#[test]
fn bytes_after_a_short_last_chunk_are_refused() {
    let (key, mut file, _) = sample(100);
    file.push(0);
    assert_eq!(error_of(&key, &file), AssetError::ChunkTampered { chunk: 0 });
}

#[test]
fn two_files_in_one_are_refused() {
    let (key, file, _) = sample(CHUNK_BYTES);
    assert_eq!(error_of(&key, &[file.clone(), file].concat()), AssetError::TrailingData);
}

#[test]
fn sealing_twice_gives_two_files() {
    let key = generate_file_key().unwrap();
    let owner = [AgeIdentity::generate().unwrap().recipient()];
    assert_ne!(seal(&key, &owner, b"same", 4).1.digest, seal(&key, &owner, b"same", 4).1.digest);
}

#[test]
fn recipients_are_counted_and_must_be_points() {
    let key = generate_file_key().unwrap();
    let owner = AgeIdentity::generate().unwrap().recipient();
    assert_eq!(Sealer::new(&key, &[]).err(), Some(AssetError::RecipientCount));
    assert_eq!(Sealer::new(&key, &vec![owner; 257]).err(), Some(AssetError::RecipientCount));
    assert_eq!(Sealer::new(&key, &[Recipient([0; 32])]).err(), Some(AssetError::BadRecipient));
    assert!(Header::parse(&seal(&key, &vec![owner; 256], b"", 1).0).is_ok());
    assert!(print_recipient(&owner).starts_with("age1"));
}

fn parse_text(text: &str) -> Result<bool, AssetError> {
    Header::parse(text.as_bytes()).map(|parsed| matches!(parsed, Parsed::Complete { .. }))
}

#[test]
fn headers_that_are_not_as_specified_are_named() {
    const V: &str = "age-encryption.org/v1\n";
    const MAC: &str = "--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    let full = "A".repeat(64);
    assert_eq!(parse_text(&format!("{V}-> a\n\n{MAC}")), Ok(true));
    assert_eq!(parse_text(&format!("{V}-> a\n{full}\n\n{MAC}")), Ok(true));
    for (text, defect) in [
        ("age-encryption.org/v2\n".into(), Malformed::Version),
        ("age-encryption.org/v1\r\n".into(), Malformed::Version),
        ("-----BEGIN AGE ENCRYPTED FILE-----".into(), Malformed::Version),
        ("PK".into(), Malformed::Version),
        (format!("{V}{MAC}"), Malformed::NoStanza),
        (format!("{V}->a\n"), Malformed::Stanza),
        (format!("{V}\n"), Malformed::Stanza),
        (format!("{V}-> \n\n{MAC}"), Malformed::Argument),
        (format!("{V}-> a  b\n\n{MAC}"), Malformed::Argument),
        (format!("{V}-> a \n\n{MAC}"), Malformed::Argument),
        (format!("{V}-> a\tb\n\n{MAC}"), Malformed::Argument),
        (format!("{V}-> é\n\n{MAC}"), Malformed::Argument),
        (format!("{V}-> a\nA\n{MAC}"), Malformed::Body),
        (format!("{V}-> a\nAA==\n{MAC}"), Malformed::Body),
        (format!("{V}-> a\nAB\n{MAC}"), Malformed::Body), // bits that nothing uses
        (format!("{V}-> a\n{full}A\n{MAC}"), Malformed::Body),
        (format!("{V}-> a\n{full}\n{MAC}"), Malformed::Body), // the short line is missing
        (format!("{V}-> a\n\n---\n"), Malformed::Stanza),
        (format!("{V}-> a\n\n--- AAAA\n"), Malformed::MacLine),
        (format!("{V}-> a\n\n{}B\n", &MAC[..46]), Malformed::MacLine),
        (format!("{V}-> a\n\n--- \n"), Malformed::MacLine),
    ] {
        assert_eq!(parse_text(&text), Err(AssetError::Malformed(defect)), "{text:?}");
    }
}

#[test]
fn a_header_without_end_is_not_read_forever() {
    let endless = format!("age-encryption.org/v1\n{}", "-> a\n\n".repeat(20_000));
    assert_eq!(parse_text(&endless), Err(AssetError::HeaderTooLarge));
    assert_eq!(error_of(&generate_file_key().unwrap(), endless.as_bytes()), AssetError::HeaderTooLarge);
    assert_eq!(parse_text(&endless[..1000]), Ok(false));
}

#[test]
fn x25519_stanzas_of_another_shape_are_refused() {
    const MAC: &str = "--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    let identity = AgeIdentity::generate().unwrap();
    let share = "A".repeat(43);
    let body = "A".repeat(43);
    for stanza in [
        format!("-> X25519\n{body}\n"),
        format!("-> X25519 {share} {share}\n{body}\n"),
        format!("-> X25519 AAAA\n{body}\n"),
        format!("-> X25519 {share}\nAAAA\n"),
        format!("-> X25519 {share}\n{body}\n"), // the all-zero share
    ] {
        let file = format!("age-encryption.org/v1\n{stanza}{MAC}");
        let error = header(file.as_bytes()).0.unwrap(&identity).unwrap_err();
        assert_eq!(error, AssetError::Malformed(Malformed::X25519), "{stanza}");
    }
}
