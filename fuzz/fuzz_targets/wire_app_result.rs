#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glacier_fuzz_bodies::check("wire_app_result", bytes));
