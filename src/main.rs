//! The command line; every subcommand is a thin file in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().is_some_and(|name| name == "mount-daemon") {
            return match csi_certify::mountpod::process::mount_daemon_main(arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(text) => {
                    anstream::eprintln!("mount-daemon: {text}");
                    ExitCode::FAILURE
                }
            };
        }
    }
    ExitCode::SUCCESS
}
