//! The `tenantry` binary: picks the allocator and runs the command that was typed.

use std::process::ExitCode;

/// The system's allocator takes a lock where threads free what others allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tenantry::cli::main()
}
