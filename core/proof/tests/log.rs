//! The log against the RFC's own recursive definition, and what is refused.

use glacier_proof::{Frontier, Head, Log, LogError, empty_root, leaf_hash, verify_consistency, verify_inclusion};
use glacier_wire::{LogHash, ProofHash, eip712::keccak};
use proptest::prelude::*;

/// RFC 6962, 2.1, word for word.
mod naive {
    use super::*;

    pub(super) fn mth(leaves: &[ProofHash]) -> LogHash {
        match leaves {
            [] => LogHash(keccak(b"")),
            [leaf] => LogHash(keccak(&[&[0], &leaf.0[..]].concat())),
            _ => {
                let (left, right) = leaves.split_at(k(leaves.len()));
                LogHash(keccak(&[&[1], &mth(left).0[..], &mth(right).0[..]].concat()))
            }
        }
    }

    pub(super) fn path(m: usize, leaves: &[ProofHash]) -> Vec<LogHash> {
        if leaves.len() == 1 {
            return vec![];
        }
        let (left, right) = leaves.split_at(k(leaves.len()));
        if m < left.len() {
            [path(m, left), vec![mth(right)]].concat()
        } else {
            [path(m - left.len(), right), vec![mth(left)]].concat()
        }
    }

    pub(super) fn subproof(m: usize, leaves: &[ProofHash], whole: bool) -> Vec<LogHash> {
        if m == leaves.len() {
            return if whole { vec![] } else { vec![mth(leaves)] };
        }
        let (left, right) = leaves.split_at(k(leaves.len()));
        if m <= left.len() {
            [subproof(m, left, whole), vec![mth(right)]].concat()
        } else {
            [subproof(m - left.len(), right, false), vec![mth(left)]].concat()
        }
    }

    fn k(n: usize) -> usize {
        n.next_power_of_two() / 2
    }
}

fn proofs(count: u64) -> Vec<ProofHash> {
    (0..count).map(|n| ProofHash(keccak(&n.to_be_bytes()))).collect()
}

fn head(log: &Log, size: u64) -> Head {
    Head { size, root: log.root(size).unwrap() }
}

#[test]
fn roots_paths_and_frontiers_are_the_rfcs_at_each_size_and_verify() {
    const MOST: u64 = 66;
    let leaves = proofs(MOST);
    let log: Log = leaves.iter().copied().collect();
    let mut frontier = Frontier::new();
    for size in 0..=MOST {
        let had = &leaves[..size as usize];
        let root = naive::mth(had);
        assert_eq!((log.root(size), frontier.root(), frontier.size()), (Ok(root), root, size));
        assert_eq!(log.frontier(size), Ok(frontier.clone()));
        assert_eq!(frontier.peaks().len(), size.count_ones() as usize);
        for index in 0..size {
            let path = log.inclusion(index, size).unwrap();
            assert_eq!(path, naive::path(index as usize, had));
            assert_eq!(verify_inclusion(&root, size, index, &had[index as usize], &path), Ok(()));
        }
        for old in 0..=size {
            let path = log.consistency(old, size).unwrap();
            if old > 0 {
                assert_eq!(path, naive::subproof(old as usize, had, true));
            }
            assert_eq!(verify_consistency(&head(&log, old), &head(&log, size), &path), Ok(()), "{old} in {size}");
        }
        let next = frontier.path_of_next();
        if let Some(leaf) = leaves.get(size as usize) {
            frontier.append(leaf).unwrap();
            assert_eq!(log.inclusion(size, size + 1), Ok(next), "the next leaf's path");
        }
    }
}

#[test]
fn small_trees_have_the_shapes_of_the_rfc() {
    let leaves = proofs(7);
    let leaf: Vec<_> = leaves.iter().map(leaf_hash).collect();
    let node = |l: &LogHash, r: &LogHash| LogHash(keccak(&[&[1], &l.0[..], &r.0[..]].concat()));
    let (ab, cd, ef) = (node(&leaf[0], &leaf[1]), node(&leaf[2], &leaf[3]), node(&leaf[4], &leaf[5]));
    let abcd = node(&ab, &cd);
    let log: Log = leaves.iter().copied().collect();
    // RFC 6962, 2.1.3.
    assert_eq!(log.head().root, node(&abcd, &node(&ef, &leaf[6])));
    assert_eq!(log.inclusion(0, 7).unwrap(), [leaf[1], cd, node(&ef, &leaf[6])]);
    assert_eq!(log.inclusion(6, 7).unwrap(), [ef, abcd]);
    assert_eq!(log.consistency(3, 7).unwrap(), [leaf[2], leaf[3], ab, node(&ef, &leaf[6])]);
    assert_eq!(log.consistency(4, 7).unwrap(), [node(&ef, &leaf[6])]);
    assert_eq!(log.consistency(6, 7).unwrap(), [ef, leaf[6], abcd]);
    assert_eq!(log.frontier(7).unwrap().peaks(), [abcd, ef, leaf[6]]);
}

#[test]
fn an_empty_log_and_a_log_of_one() {
    let keccak_of_nothing = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470".parse().unwrap();
    assert_eq!((Log::new().head().root, empty_root()), (keccak_of_nothing, keccak_of_nothing));
    assert_eq!(Log::new().inclusion(0, 0), Err(LogError::NoLeaf { index: 0, size: 0 }));
    let one = ProofHash([7; 32]);
    let log: Log = [one].into_iter().collect();
    assert_eq!(log.head().root, leaf_hash(&one));
    assert_eq!(verify_inclusion(&log.head().root, 1, 0, &one, &[]), Ok(()));
    assert_eq!(verify_consistency(&head(&log, 0), &log.head(), &[]), Ok(()));
    let not_empty = Head { size: 0, root: LogHash::ZERO };
    assert_eq!(verify_consistency(&not_empty, &log.head(), &[]), Err(LogError::OtherRoot));
}

#[test]
fn what_a_log_never_had_is_refused() {
    let log: Log = proofs(5).into_iter().collect();
    assert_eq!(log.root(6), Err(LogError::Size { size: 6, of: 5 }));
    assert_eq!(log.frontier(6).err(), Some(LogError::Size { size: 6, of: 5 }));
    assert_eq!(log.inclusion(5, 5), Err(LogError::NoLeaf { index: 5, size: 5 }));
    assert_eq!(log.inclusion(4, 4), Err(LogError::NoLeaf { index: 4, size: 4 }));
    assert_eq!(log.inclusion(0, u64::MAX), Err(LogError::Size { size: u64::MAX, of: 5 }));
    assert_eq!(log.consistency(4, 3), Err(LogError::Size { size: 4, of: 3 }));
    assert_eq!(Frontier::from_peaks(5, vec![LogHash::ZERO]), Err(LogError::PathLength));
    let peaks = log.frontier(5).unwrap().peaks().to_vec();
    assert_eq!(Frontier::from_peaks(5, peaks).unwrap().head(), log.head());
    let mut full = Frontier::from_peaks(u64::MAX, vec![LogHash::ZERO; 64]).unwrap();
    assert_eq!(full.append(&ProofHash::ZERO), Err(LogError::Full));
}

#[test]
fn a_million_proofs_are_logged_and_looked_up_in_logarithmic_time() {
    let log: Log = (0..1_000_000u64).map(|n| ProofHash(keccak(&n.to_be_bytes()))).collect();
    let head = log.head();
    for index in (0..head.size).step_by(997) {
        let path = log.inclusion(index, head.size).unwrap();
        assert!(path.len() <= 20);
        assert_eq!(
            verify_inclusion(&head.root, head.size, index, &ProofHash(keccak(&index.to_be_bytes())), &path),
            Ok(())
        );
        let old = Head { size: index, root: log.root(index).unwrap() };
        assert_eq!(verify_consistency(&old, &head, &log.consistency(index, head.size).unwrap()), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// One altered node, number, size, leaf or root: refused.
    #[test]
    fn an_altered_inclusion_is_refused(size in 1u64..300, at in any::<u64>(), bit in 0usize..256, which in any::<prop::sample::Index>()) {
        let leaves = proofs(size);
        let log: Log = leaves.iter().copied().collect();
        let (index, root) = (at % size, log.head().root);
        let leaf = leaves[index as usize];
        let path = log.inclusion(index, size).unwrap();
        let flip = |hash: &mut [u8; 32]| hash[bit / 8] ^= 1 << (bit % 8);

        if !path.is_empty() {
            let mut other = path.clone();
            flip(&mut other[which.index(path.len())].0);
            prop_assert_eq!(verify_inclusion(&root, size, index, &leaf, &other), Err(LogError::OtherRoot));
            let mut short = path.clone();
            short.remove(which.index(path.len()));
            prop_assert!(verify_inclusion(&root, size, index, &leaf, &short).is_err());
        }
        let mut long = path.clone();
        long.insert(which.index(path.len() + 1), LogHash([9; 32]));
        prop_assert!(verify_inclusion(&root, size, index, &leaf, &long).is_err());
        let mut other = leaf;
        flip(&mut other.0);
        prop_assert_eq!(verify_inclusion(&root, size, index, &other, &path), Err(LogError::OtherRoot));
        let mut elsewhere = root;
        flip(&mut elsewhere.0);
        prop_assert_eq!(verify_inclusion(&elsewhere, size, index, &leaf, &path), Err(LogError::OtherRoot));
        for number in 0..size {
            prop_assert_eq!(verify_inclusion(&root, size, number, &leaf, &path).is_ok(), number == index);
        }
        prop_assert_eq!(verify_inclusion(&root, size, size, &leaf, &path), Err(LogError::NoLeaf { index: size, size }));
    }

    /// A log that forked before `old` is consistent with no path.
    #[test]
    fn an_altered_history_is_refused(
        new in 2u64..300, at in any::<u64>(), fork in any::<u64>(), bit in 0usize..256, which in any::<prop::sample::Index>(),
    ) {
        let log: Log = proofs(new).into_iter().collect();
        let old = 1 + at % (new - 1);
        let path = log.consistency(old, new).unwrap();
        let (before, after) = (head(&log, old), log.head());
        prop_assert_eq!(verify_consistency(&before, &after, &path), Ok(()));

        let mut leaves = proofs(new);
        leaves[(fork % old) as usize].0[bit / 8] ^= 1 << (bit % 8);
        let forked: Log = leaves.into_iter().collect();
        let theirs = forked.consistency(old, new).unwrap();
        for path in [&path, &theirs] {
            prop_assert!(verify_consistency(&before, &forked.head(), path).is_err());
            prop_assert!(verify_consistency(&head(&forked, old), &after, path).is_err());
        }
        let mut other = path.clone();
        other[which.index(path.len())].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_consistency(&before, &after, &other), Err(LogError::OtherRoot));
        let mut short = path.clone();
        short.remove(which.index(path.len()));
        prop_assert!(verify_consistency(&before, &after, &short).is_err());
        let mut long = path.clone();
        long.insert(which.index(path.len() + 1), LogHash([9; 32]));
        prop_assert!(verify_consistency(&before, &after, &long).is_err());
        prop_assert_eq!(verify_consistency(&after, &before, &path), Err(LogError::Size { size: new, of: old }));
    }

    /// Foreign numbers and paths of any shape are answered, never looped over or panicked on.
    #[test]
    fn any_path_has_an_answer(
        sizes in any::<[u64; 2]>(), index in any::<u64>(), words in any::<[[u8; 32]; 3]>(), path in prop::collection::vec(any::<[u8; 32]>(), 0..80),
    ) {
        let path: Vec<_> = path.into_iter().map(LogHash).collect();
        prop_assert!(verify_inclusion(&LogHash(words[0]), sizes[0], index, &ProofHash(words[1]), &path).is_err());
        let (old, new) = (Head { size: sizes[0], root: LogHash(words[1]) }, Head { size: sizes[1], root: LogHash(words[2]) });
        prop_assert!(verify_consistency(&old, &new, &path).is_err());
    }
}
