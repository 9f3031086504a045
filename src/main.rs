//! The command line; every subcommand is a thin file in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Not for people: the process of a mount pod. It starts often, so it passes by everything else.
    #[cfg(target_os = "linux")]
    if arguments.get(1).is_some_and(|name| name == "mount-daemon") {
        return match csi_certify::mountpod::process::mount_daemon_main(arguments.into_iter().skip(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                anstream::eprintln!("mount-daemon: {text}");
                ExitCode::FAILURE
            }
        };
    }
    csi_certify::cli::main(arguments)
}
