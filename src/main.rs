//! The program `mount_status_monitor`: a command, the daemon, or a child process of the daemon.

use mount_status_monitor::children::{collector, prober};
use mount_status_monitor::cli::{self, Invocation};
use mount_status_monitor::commands;
use platform::process::{COLLECTOR_ARGUMENT, ENTERING_ARGUMENT, PROBER_ARGUMENT, is_started_by_daemon};
use platform::service::ServiceManager;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Children first: they stay small and have no command line.
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some(child @ (PROBER_ARGUMENT | COLLECTOR_ARGUMENT)) if !is_started_by_daemon() => {
            commands::fail(&anyhow::anyhow!("{child} is started by the daemon only"))
        }
        Some(PROBER_ARGUMENT) => {
            prober::process::run(arguments.get(2).is_some_and(|argument| argument == ENTERING_ARGUMENT))
        }
        Some(COLLECTOR_ARGUMENT) => collector::process::run(),
        _ => run_command(arguments),
    }
}

fn run_command(arguments: Vec<OsString>) -> ExitCode {
    match cli::parse(arguments) {
        // The service manager's variables are removed here, while there is no other thread.
        Ok(Invocation::Daemon(config, source)) => {
            commands::daemon(config, source, ServiceManager::from_env())
        }
        Ok(Invocation::CheckConfig(config, explain)) => commands::check_config(&config, explain.as_deref()),
        Ok(Invocation::Check(config)) => commands::check(config),
        Ok(Invocation::Status(config)) => commands::status(&config),
        Ok(Invocation::Diagnose(config)) => commands::diagnose(&config),
        Ok(Invocation::Watch(client, config)) => commands::watch(&client, config),
        Err(exit) => commands::exit(&exit),
    }
}
