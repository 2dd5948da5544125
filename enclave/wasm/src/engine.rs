//! How components are compiled. Whatever is on here decides what fuel is, and so what a proof's units mean.

use wasmtime::{Config, Engine, OperatorCost, Result, VariableOperatorCost};

/// Bytes of the interpreter's stack. Deeper recursion traps.
const STACK: usize = 512 << 10;

/// Pages of memory in a unit of fuel would make growth nearly free; a page is 64 KiB to clear.
const FUEL_PER_PAGE: u8 = u8::MAX;

/// # Errors
/// The configuration contradicts itself: a mistake of this crate, which its tests would find.
pub(crate) fn engine() -> Result<Engine> {
    let mut config = Config::new();
    // The sandbox around this process refuses executable mappings: Pulley's instructions are data.
    config.target("pulley64")?;
    config.consume_fuel(true).operator_cost(costs());
    // The same bits and the same fuel wherever it runs.
    config.cranelift_nan_canonicalization(true).wasm_relaxed_simd(false).relaxed_simd_deterministic(true);
    // No signal handlers, no reserved address space, no files in memory: linear memories come from the allocator,
    // which counts them, and every access is checked.
    config.signals_based_traps(false).memory_init_cow(false);
    config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(0);
    config.max_wasm_stack(STACK);
    // A component's own names and addresses never reach a message.
    config.wasm_backtrace_max_frames(None).native_unwind_info(false).generate_address_map(true);
    config.wasm_memory64(false).wasm_multi_memory(false);
    Engine::new(&config)
}

/// One unit for each instruction; instructions that move many bytes or elements pay for each of them.
fn costs() -> OperatorCost {
    let mut costs = OperatorCost::new();
    costs.variable = VariableOperatorCost {
        memory_copy_per_byte: 1,
        memory_fill_per_byte: 1,
        memory_init_per_byte: 1,
        memory_grow_per_page: FUEL_PER_PAGE,
        table_copy_per_element: 1,
        table_fill_per_element: 1,
        table_init_per_element: 1,
        table_grow_per_element: 1,
        ..VariableOperatorCost::new()
    };
    costs
}
