//! The `ota` command.

fn main() -> std::process::ExitCode {
    ota_cli::main()
}
