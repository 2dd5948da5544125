//! The functions that a page calls, over plain linear memory: no generated glue, nothing imported.
//!
//! `question(length)` makes room and says where, the page writes its question there, `answer()` answers it
//! and says how long the answer is, `answer_at()` says where it stands until the next question.

// To name an export counts as unsafe, because two of one name would clash. These three names are this
// module's own, and there is nothing else that would be unsafe.
#![allow(unsafe_code)]
// A page calls them, nothing in Rust does.
#![allow(unreachable_pub)]

use std::sync::{Mutex, MutexGuard, PoisonError};

static QUESTION: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Where a question of so many bytes goes; null for one that is too long.
#[unsafe(no_mangle)]
pub extern "C" fn question(length: usize) -> *mut u8 {
    let mut question = lock(&QUESTION);
    if length > crate::MAX_QUESTION {
        return std::ptr::null_mut();
    }
    question.clear();
    question.resize(length, 0);
    question.as_mut_ptr()
}

/// Answers the question that was written; the length of the answer in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> usize {
    let question = std::mem::take(&mut *lock(&QUESTION));
    let mut answer = lock(&ANSWER);
    *answer = crate::answer(&question);
    answer.len()
}

/// Where the answer stands.
#[unsafe(no_mangle)]
pub extern "C" fn answer_at() -> *const u8 {
    lock(&ANSWER).as_ptr()
}

fn lock(buffer: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}
