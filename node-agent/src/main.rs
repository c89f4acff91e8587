//! The node agent's binary: hands its arguments to [`node_agent::cli`] and exits with what that says.

fn main() -> std::process::ExitCode {
    node_agent::cli::run(std::env::args_os())
}
