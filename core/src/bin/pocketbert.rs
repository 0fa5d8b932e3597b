//! The `pocketbert` command.

fn main() -> std::process::ExitCode {
    pocketbert::cli::main()
}
