//! Demo application: a device that updates itself over the air.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    otaapp::host::main()
}
