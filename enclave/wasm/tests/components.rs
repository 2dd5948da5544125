//! What a component may do, and how one ends that does what it may not.

use glacier_wasm::{Answer, Call, Called, Component, Limits, WasmError};

const LIMITS: Limits = Limits { fuel: 10_000_000, memory: 4 << 20, answer: 1 << 20 };

/// A component around a core module: `handle` gets caller (0, 1), path (2, 3) and body (4, 5) by place and length, and
/// returns the place of {kind, place, length}. `$alloc` only ever moves on.
fn wrap(items: &str, handle: &str) -> String {
    format!(
        r#"(component
          (core module $m
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            {items}
            (func $alloc (export "alloc") (param i32 i32 i32 i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
              (global.set $next (i32.add (local.get $at) (local.get 3)))
              (local.get $at))
            (func (export "handle") (param i32 i32 i32 i32 i32 i32) (result i32) {handle}))
          (core instance $i (instantiate $m))
          (func (export "handle") (param "caller" string) (param "path" string) (param "body" (list u8))
            (result (result (list u8) (error string)))
            (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "alloc")))))"#
    )
}

/// Says `ok(body)`.
const ECHO: &str = "(i32.store (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (local.get 4))
    (i32.store (i32.const 8) (local.get 5))
    (i32.const 0)";

fn compile(text: &str) -> Result<Component, WasmError> {
    Component::compile(&wat::parse_str(text).expect("the test's own text"))
}

fn ask(component: &Component, limits: &Limits) -> Called {
    component.call(&Call { caller: "0x00", path: "/", body: b"rows" }, limits)
}

#[track_caller]
fn ends(items: &str, handle: &str) -> WasmError {
    let component = compile(&wrap(items, handle)).expect("a component");
    let called = ask(&component, &LIMITS);
    // Whatever one request did, the next one is answered the same.
    assert_eq!(ask(&component, &LIMITS), called);
    called.answer.expect_err("it does not end well")
}

fn refused(text: &str) -> WasmError {
    compile(text).err().expect("it is refused")
}

#[test]
fn an_answer_comes_back_and_costs_the_same_each_time() {
    let component = compile(&wrap("", ECHO)).unwrap();
    let first = ask(&component, &LIMITS);
    assert_eq!(first.answer, Ok(Answer::Response(b"rows".to_vec())));
    assert!(first.fuel > 0);
    for _ in 0..3 {
        assert_eq!(ask(&component, &LIMITS), first);
    }
    // Another engine, compiled anew, counts alike.
    assert_eq!(ask(&compile(&wrap("", ECHO)).unwrap(), &LIMITS), first);
}

#[test]
fn a_refusal_is_an_answer_too() {
    let refusal = ECHO.replacen("(i32.const 0) (i32.const 0)", "(i32.const 0) (i32.const 1)", 1);
    let component = compile(&wrap("", &refusal)).unwrap();
    assert_eq!(ask(&component, &LIMITS).answer, Ok(Answer::Refusal("rows".into())));
}

#[test]
fn nothing_of_a_request_is_there_at_the_next() {
    // Says what the byte at 512 was, and leaves a mark there.
    let mark = "(i32.store (i32.const 0) (i32.const 0))
        (i32.store (i32.const 4) (i32.const 600))
        (i32.store (i32.const 8) (i32.const 1))
        (i32.store8 (i32.const 600) (i32.load8_u (i32.const 512)))
        (i32.store8 (i32.const 512) (i32.const 77))
        (i32.const 0)";
    let component = compile(&wrap("", mark)).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&component, &LIMITS).answer, Ok(Answer::Response(vec![0])));
    }
}

#[test]
fn an_endless_loop_ends_with_the_fuel() {
    assert_eq!(ends("", "(loop $on (br $on)) (i32.const 0)"), WasmError::Fuel);
    let component = compile(&wrap("", "(loop $on (br $on)) (i32.const 0)")).unwrap();
    assert_eq!(ask(&component, &LIMITS).fuel, LIMITS.fuel);
}

#[test]
fn an_endless_start_function_ends_with_the_fuel() {
    assert_eq!(ends("(func $on (loop $on (br $on))) (start $on)", ECHO), WasmError::Fuel);
}

#[test]
fn one_instruction_that_moves_many_bytes_costs_many_units() {
    let fill = format!("(memory.fill (i32.const 2048) (i32.const 0) (i32.const 60000)) {ECHO}");
    let component = compile(&wrap("", &fill)).unwrap();
    let called = ask(&component, &LIMITS);
    assert!(called.answer.is_ok() && called.fuel > 60_000, "{called:?}");
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    // Grows until it gets no more, and then gives up, as an allocator does.
    let grow = "(block $full (loop $on (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $on)))
        unreachable";
    assert_eq!(ends("", grow), WasmError::Memory);
    // Who bears it goes on.
    let bear = format!("(drop (memory.grow (i32.const 1000))) {ECHO}");
    let component = compile(&wrap("", &bear)).unwrap();
    assert_eq!(ask(&component, &LIMITS).answer, Ok(Answer::Response(b"rows".to_vec())));
}

#[test]
fn a_memory_that_begins_too_large_is_not_begun() {
    let text = wrap("", ECHO).replace("\"memory\") 1)", "\"memory\") 1000)");
    assert_eq!(ask(&compile(&text).unwrap(), &LIMITS).answer, Err(WasmError::Memory));
}

#[test]
fn a_huge_table_counts_as_memory() {
    assert_eq!(ends("(table 5000000 funcref)", ECHO), WasmError::Memory);
    let grow = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 5000000)) (i32.const -1)) (then unreachable))
        (i32.const 0)";
    assert_eq!(ends("(table $t 1 funcref)", grow), WasmError::Memory);
}

#[test]
fn deep_recursion_ends_with_the_stack() {
    assert_eq!(
        ends(
            "(func $down (param i64) (result i64) (i64.add (call $down (local.get 0)) (i64.const 1)))",
            "(drop (call $down (i64.const 0))) (i32.const 0)"
        ),
        WasmError::Stack
    );
}

#[test]
fn a_trap_is_a_trap() {
    assert_eq!(ends("", "unreachable"), WasmError::Trapped);
    assert_eq!(ends("", "(i32.div_u (i32.const 1) (i32.const 0))"), WasmError::Trapped);
    assert_eq!(ends("", "(i32.load (i32.const -8))"), WasmError::Trapped);
    assert_eq!(
        ends("(table 1 funcref) (type $t (func))", "(call_indirect (type $t) (i32.const 0)) (i32.const 0)"),
        WasmError::Trapped
    );
}

#[test]
fn an_answer_that_is_too_large_or_nowhere_is_none() {
    let long = ECHO.replace("(local.get 5)", "(i32.const 60000)");
    let component = compile(&wrap("", &long)).unwrap();
    assert_eq!(ask(&component, &Limits { answer: 1000, ..LIMITS }).answer, Err(WasmError::Answer));
    assert!(ask(&component, &LIMITS).answer.is_ok());
    assert_eq!(ends("", &ECHO.replace("(local.get 4)", "(i32.const -16)")), WasmError::Answer);
}

#[test]
fn a_body_that_the_app_has_no_room_for_is_its_fault() {
    let called =
        compile(&wrap("", ECHO)).unwrap().call(&Call { caller: "0x00", path: "/", body: &vec![7; 1 << 20] }, &LIMITS);
    assert!(matches!(called.answer, Err(WasmError::Trapped | WasmError::Answer)), "{called:?}");
}

#[test]
fn what_is_imported_is_named() {
    let wasi = r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64))))))"#;
    assert_eq!(refused(wasi), WasmError::Import("wasi:clocks/wall-clock@0.2.0".into()));
    let log = r#"(component (import "log" (func (param "line" string))))"#;
    assert_eq!(refused(log), WasmError::Import("log".into()));
}

#[test]
fn what_exports_something_else_is_refused() {
    assert_eq!(refused("(component)"), WasmError::NoHandle);
    let other = r#"(component
        (core module $m (func (export "handle") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "handle") (result u32) (canon lift (core func $i "handle"))))"#;
    assert_eq!(refused(other), WasmError::NoHandle);
}

#[test]
fn what_is_no_component_is_refused() {
    assert_eq!(refused("(module)"), WasmError::Module);
    for bytes in [&b""[..], b"\0asm", b"\x7fELF\x02\x01\x01\0", b"radius,texture\n1,2\n"] {
        assert_eq!(Component::compile(bytes).err(), Some(WasmError::NotWasm));
    }
    let mut cut = wat::parse_str(wrap("", ECHO)).unwrap();
    cut.truncate(cut.len() - 9);
    assert_eq!(Component::compile(&cut).err(), Some(WasmError::Invalid));
    assert_eq!(Component::compile(&vec![0; Component::MAX_BYTES + 1]).err(), Some(WasmError::TooLarge));
}

#[test]
fn features_that_differ_between_machines_are_off() {
    // Relaxed SIMD, threads, 64-bit memories: in a module that nothing lifts, so that nothing else is wrong with it.
    for item in [
        "(func (param v128 v128 v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))",
        "(memory 1 1 shared)",
        "(memory i64 1)",
    ] {
        let with = |item: &str| wrap("", ECHO).replacen("(component", &format!("(component (core module {item})"), 1);
        assert_eq!(refused(&with(item)), WasmError::Invalid, "{item}");
        assert!(compile(&with("(memory 1 1)")).is_ok());
    }
}

#[test]
fn nan_has_one_form() {
    // 0 / 0, and a NaN with another payload passed through an addition.
    let nan = "(i64.store (i32.const 600) (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0))))
        (i64.store (i32.const 608) (i64.reinterpret_f64 (f64.add (f64.const nan:0x7000000000001) (f64.const 1))))
        (i32.store (i32.const 0) (i32.const 0))
        (i32.store (i32.const 4) (i32.const 600))
        (i32.store (i32.const 8) (i32.const 16))
        (i32.const 0)";
    let answer = ask(&compile(&wrap("", nan)).unwrap(), &LIMITS).answer;
    let canonical = f64::NAN.to_bits().to_le_bytes();
    assert_eq!(answer, Ok(Answer::Response([canonical, canonical].concat())));
}
