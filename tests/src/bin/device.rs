//! `otaapp`, for tests that start it as a process.

fn main() -> std::process::ExitCode {
    otaapp::host::main()
}
