//! The archive that Linux unpacks as its first file system: cpio, format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The same entries give the same bytes, in whatever order they come: no times, no owners, no inode
//! numbers of the building machine.

use std::collections::BTreeMap;

/// What an archive holds, by path without a leading slash.
#[derive(Debug, Default, Clone)]
pub(crate) struct Archive(BTreeMap<String, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File {
        mode: u32,
        content: Vec<u8>,
    },
    /// A character device.
    Device {
        major: u32,
        minor: u32,
    },
}

impl Archive {
    /// A file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, executable: bool, content: Vec<u8>) -> Result<(), String> {
        let mode = if executable { 0o555 } else { 0o444 };
        self.put(path, Entry::File { mode, content })
    }

    /// An empty folder, such as a place to mount at.
    pub(crate) fn folder(&mut self, path: &str) -> Result<(), String> {
        self.put(path, Entry::Folder)
    }

    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<(), String> {
        self.put(path, Entry::Device { major, minor })
    }

    /// Path and content of each file, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, entry)| match entry {
            Entry::File { content, .. } => Some((path.as_str(), content.as_slice())),
            _ => None,
        })
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        // Sorted, so that a folder comes before what is in it.
        for (index, (path, entry)) in self.0.iter().enumerate() {
            let (mode, links, content, device) = match entry {
                Entry::Folder => (0o040_755, 2, &[][..], (0, 0)),
                Entry::File { mode, content } => (0o100_000 | mode, 1, content.as_slice(), (0, 0)),
                Entry::Device { major, minor } => (0o020_600, 1, &[][..], (*major, *minor)),
            };
            record(&mut out, index + 1, mode, links, device, path, content)?;
        }
        record(&mut out, 0, 0, 1, (0, 0), "TRAILER!!!", &[])?;
        Ok(out)
    }

    fn put(&mut self, path: &str, entry: Entry) -> Result<(), String> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.is_ascii() || !path.split('/').all(plain) {
            return Err(format!("{path} is no path for an archive"));
        }
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        for folder in above {
            let found = self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
            if *found != Entry::Folder {
                return Err(format!("{folder} is a file, and {path} is to be in it"));
            }
        }
        match self.0.insert(path.to_owned(), entry.clone()) {
            Some(before) if before != entry => Err(format!("{path} is named twice, with different content")),
            _ => Ok(()),
        }
    }
}

fn record(
    out: &mut Vec<u8>,
    inode: usize,
    mode: u32,
    links: u32,
    device: (u32, u32),
    path: &str,
    content: &[u8],
) -> Result<(), String> {
    let number = |value: usize| u32::try_from(value).map_err(|_| format!("{path} is too large for an archive"));
    // Inode, mode, owner, group, links, time, size, device of the file, its own device, name, checksum.
    let (size, name) = (number(content.len())?, number(path.len() + 1)?);
    let fields = [number(inode)?, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0];
    out.extend_from_slice(b"070701");
    fields.iter().for_each(|field| out.extend_from_slice(format!("{field:08x}").as_bytes()));
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(order: &[usize]) -> Archive {
        let mut archive = Archive::default();
        for step in order {
            match step {
                0 => archive.file("init", true, b"#!".to_vec()),
                1 => archive.file("lib/x86_64/libc.so.6", true, vec![7; 5]),
                2 => archive.folder("proc"),
                3 => archive.device("dev/console", 5, 1),
                _ => archive.file("lib/modules/a.ko", false, vec![]),
            }
            .unwrap();
        }
        archive
    }

    #[test]
    fn order_does_not_matter() {
        let archive = filled(&[0, 1, 2, 3, 4]).bytes().unwrap();
        for order in [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 1, 0, 0, 0]] {
            let same = order != [1, 1, 0, 0, 0];
            assert_eq!(filled(&order).bytes().unwrap() == archive, same, "{order:?}");
        }
        assert_eq!(filled(&[0, 1, 2, 3, 4]).bytes().unwrap(), archive);
    }

    #[test]
    fn an_archive_is_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("a", true, b"hello".to_vec()).unwrap();
        let expected = [
            &b"070701000000010000816d00000000000000000000000100000000000000050000000000000000"[..],
            b"00000000000000000000000200000000a\0hello\0\0\0",
            b"070701000000000000000000000000000000000000000100000000000000000000000000000000",
            b"00000000000000000000000b00000000TRAILER!!!\0\0\0\0",
        ]
        .concat();
        assert_eq!(String::from_utf8(archive.bytes().unwrap()), String::from_utf8(expected));
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let text = String::from_utf8_lossy(&filled(&[1]).bytes().unwrap()).into_owned();
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap();
        assert!(at("lib") < at("lib/x86_64") && at("lib/x86_64") < at("lib/x86_64/libc.so.6"));
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let mut archive = filled(&[0]);
        assert!(archive.file("init", true, b"#?".to_vec()).is_err());
        assert!(archive.file("init/x", true, vec![]).is_err());
    }

    #[test]
    fn paths_out_of_the_archive_are_refused() {
        for path in ["/init", "../init", "a//b", "", "a/./b"] {
            assert!(Archive::default().folder(path).is_err(), "{path}");
        }
    }

    /// Another reader of the format, where there is one.
    #[test]
    fn cpio_reads_it() {
        let archive = filled(&[0, 1, 2, 3, 4]).bytes().unwrap();
        let listed = std::process::Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut cpio) = listed else {
            println!("skipped: no cpio");
            return;
        };
        std::io::Write::write_all(&mut cpio.stdin.take().unwrap(), &archive).unwrap();
        let output = cpio.wait_with_output().unwrap();
        let names: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        let expected: Vec<String> = filled(&[0, 1, 2, 3, 4]).0.into_keys().collect();
        assert_eq!(names, expected);
    }
}
