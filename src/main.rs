//! The program `mount_status_monitor`: a command, the daemon, or a child process of the daemon.

use mount_status_monitor::children;
use mount_status_monitor::cli::{self, Invocation};
use mount_status_monitor::commands;
use platform::process::{ChildRole, is_started_by_daemon};
use platform::service::ServiceManager;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Children first: they stay small and have no command line.
    match ChildRole::from_args(std::env::args_os()) {
        Some(role) if !is_started_by_daemon() => {
            commands::fail(&anyhow::anyhow!("{} is started by the daemon only", role.name()))
        }
        Some(ChildRole::Attempt) => commands::attempt_remedy(),
        Some(role) => children::run(role),
        None => run_command(),
    }
}

fn run_command() -> ExitCode {
    if let Some(limit) = cli::plugin_timeout(std::env::args_os()) {
        commands::limit_plugin(limit);
    }
    let _ = children::files::use_children(); // without /dev/null; then operations are executed in place
    let result = match cli::parse(std::env::args_os()) {
        // The service manager's variables are removed here, while there is no other thread.
        Ok(Invocation::Daemon(config, source)) => {
            commands::daemon(config, source, ServiceManager::from_env())
        }
        Ok(Invocation::CheckConfig(config, explain)) => commands::check_config(&config, explain.as_deref()),
        Ok(Invocation::Check(config)) => commands::check(config),
        Ok(Invocation::Status(config)) => commands::status(&config),
        Ok(Invocation::Diagnose(config)) => commands::diagnose(&config),
        Ok(Invocation::Drill(config)) => commands::drill(&config),
        Ok(Invocation::Remedy(config)) => commands::remedy(&config),
        Ok(Invocation::Watch(command)) => commands::watch(&command),
        Ok(Invocation::MountPoints(request)) => commands::mount_points(&request),
        Err(exit) => return commands::exit(&exit),
    };
    result.map_or_else(|error| commands::fail(&error), ExitCode::from)
}
