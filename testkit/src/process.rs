//! Processes of a node, from outside.

use std::{fs, process::Command};

/// `kill -9`. A process that has ended already is no fault.
pub fn kill(pid: u32) {
    Command::new("kill").args(["-9", &pid.to_string()]).output().expect("kill runs");
}

/// The processes that `pid` has started, so far as they still run.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the kernel lists processes").flatten();
    let all = processes.filter_map(|entry| parent(entry.file_name().to_str()?.parse().ok()?));
    all.filter(|(_, parent)| *parent == pid).map(|(pid, _)| pid).collect()
}

/// A process that is no zombie, and its parent.
fn parent(pid: u32) -> Option<(u32, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have spaces and brackets of its own.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    (state != "Z").then_some((pid, words.next()?.parse().ok()?))
}
