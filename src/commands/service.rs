//! Everything that stands around the loop and can be changed while it runs: sinks, outlets of metrics, the server, and
//! whoever reads the configuration again.

use super::{policy, textfile_problem};
use crate::config::{Config, ConfigReloader, LoadFn, NO_MOUNT_LEFT, ReloadResult, changes};
use crate::daemon::{ConfigUpdate, Ended, Owner, Told};
use crate::monitor::{Event, Monitor};
use crate::output::Reporter;
use crate::output::SharedState;
use crate::output::Sink;
use crate::output::exporters::Exporters;
use crate::output::exporters::LogFn;
use crate::output::hooks::Hooks;
use crate::output::http;
use crate::output::http::Server;
use crate::output::sink::{Delivery, Output};
use crate::render::Message;
use crate::render::Priority;
use crate::render::messages;
use crate::render::metrics::MetricSources;
use crate::render::metrics::Renderer;
use crate::render::table;
use anyhow::Context as _;
use mio::Waker;
use platform::MountTable;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Outlets that were replaced and hang (a text file on dead storage): with so many of them a change of the settings of
/// metrics waits for the next start.
const MAX_LEFT_BEHIND: usize = 4;
/// Rules that are surely not meant as they are: more of them than this are told as a number.
const MAX_WARNINGS: usize = 20;

/// The running service.
pub(super) struct Service {
    config: Arc<Config>,
    reporter: Reporter,
    live: SharedState,
    /// Until the loop has a waker for the reloader.
    load: Option<LoadFn>,
    reloader: Option<ConfigReloader>,
    server: Option<Server>,
    outlets: Exporters,
    /// Outlets that were told to end and have not yet.
    left_behind: Vec<Exporters>,
    renderer: Arc<Mutex<Arc<Renderer>>>,
    hooks: Hooks,
    dead_list: Option<Sink>,
    first_run: bool,
    /// Alertmanager may have to be told what is wrong since before it was to be told of it.
    alerts_behind: bool,
    /// The last configuration was refused, and that was told.
    refused: bool,
    /// SIGHUP asked for a reload, of which nothing has come yet.
    reloading: bool,
}

impl Service {
    pub(super) fn start(config: Arc<Config>, load: LoadFn, reporter: &Reporter) -> anyhow::Result<Service> {
        let dead_list = config
            .print_bad_mounts
            .then(|| Sink::start("stdout", Lines))
            .transpose()
            .context("cannot start a thread for standard output")?;
        let load: LoadFn = Box::new(move || {
            let config = load()?;
            textfile_problem(&config).map_or(Ok(config), |problem| Err(vec![problem]))
        });
        let hooks = start_hooks(&config, reporter)?;
        let renderer = Arc::new(Mutex::default());
        let mut service = Service {
            config,
            reporter: reporter.clone(),
            live: SharedState::new(),
            load: Some(load),
            reloader: None,
            server: None,
            outlets: Exporters::default(),
            left_behind: Vec::new(),
            renderer,
            hooks,
            dead_list,
            first_run: true,
            alerts_behind: false,
            refused: false,
            reloading: false,
        };
        service.start_outlets().context("cannot start a thread for metrics")?;
        service.start_server().context("cannot start a thread for HTTP")?;
        Ok(service)
    }

    pub(super) fn live(&self) -> SharedState {
        self.live.clone()
    }

    /// Each part has its own patience, but they wait at the same time.
    pub(super) fn stop(self, push: Duration, hooks: Duration) {
        self.hooks.ask_to_stop(hooks);
        if let Some(server) = self.server {
            server.stop();
        }
        self.outlets.stop(push);
        self.hooks.stop(hooks);
    }

    fn start_outlets(&mut self) -> std::io::Result<()> {
        let metrics = &self.config.metrics;
        let renderer = renderer(&self.config, &self.reporter, &self.hooks);
        *self.renderer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&renderer);
        self.outlets = Exporters::start(metrics, &renderer, &self.live, &teller(&self.reporter))?;
        Ok(())
    }

    fn start_server(&mut self) -> std::io::Result<()> {
        let tell = teller(&self.reporter);
        let warn = Box::new(move |text: &str| tell(Priority::Warning, text));
        let renderer = Arc::clone(&self.renderer);
        let render: http::Renderer = Arc::new(move |snapshot| {
            let renderer = Arc::clone(&renderer.lock().unwrap_or_else(PoisonError::into_inner));
            renderer.render(snapshot)
        });
        let before = self.server.take();
        self.server = http::start(&self.config.http, self.live.clone(), render, warn, before)?;
        Ok(())
    }

    fn notice(&self, priority: Priority, text: &str) {
        self.reporter.notice(SystemTime::now(), priority, text);
    }

    /// Carries out what can be carried out while the loop runs, and says what could not.
    fn adopt(&mut self, config: Arc<Config>, requested: bool) {
        let changed = changes(&self.config, &config);
        if changed.is_empty() && !requested && !self.refused {
            return;
        }
        let (http, metrics) = (config.http != self.config.http, config.metrics != self.config.metrics);
        self.reporter.adopt(&config.report);
        let before = std::mem::replace(&mut self.config, config);
        let text = if changed.is_empty() { "nothing has changed" } else { &changed };
        self.notice(Priority::Notice, &format!("Configuration reloaded: {text}"));
        self.config.warnings().iter().for_each(|warning| self.notice(Priority::Warning, warning));
        let were_told = before.hooks.alertmanager.is_some() && before.rules == self.config.rules;
        self.alerts_behind |= self.config.hooks.alertmanager.is_some() && !were_told;
        if let Err(error) = self.hooks.adopt(self.config.hooks.clone()) {
            self.notice(Priority::Error, &format!("Cannot start a thread for hooks: {error}"));
        }
        if metrics {
            self.replace_outlets();
        }
        // Who asks for a reload may have made room on a port that was taken.
        let again = requested && self.server.as_ref().is_some_and(Server::lacks_an_address);
        if (http || again)
            && let Err(error) = self.start_server()
        {
            self.notice(Priority::Error, &format!("Cannot start a thread for HTTP: {error}"));
        }
        if before.once_only != self.config.once_only {
            self.notice(Priority::Warning, "once_only takes effect at the next start");
        }
        if before.print_bad_mounts != self.config.print_bad_mounts {
            self.notice(Priority::Warning, "print_bad_mounts takes effect at the next start");
        }
        if before.mount_namespace != self.config.mount_namespace {
            self.notice(Priority::Warning, "mount_namespace takes effect at the next start");
        }
    }

    fn replace_outlets(&mut self) {
        self.left_behind.retain(|outlets| !outlets.are_over());
        if self.left_behind.len() >= MAX_LEFT_BEHIND {
            let text =
                "The settings of metrics stay as they were: earlier outlets still hang; restart the daemon";
            return self.notice(Priority::Error, text);
        }
        let before = std::mem::take(&mut self.outlets);
        before.stop(Duration::ZERO); // it ends by itself
        self.left_behind.push(before);
        if let Err(error) = self.start_outlets() {
            self.notice(Priority::Error, &format!("Cannot start a thread for metrics: {error}"));
        }
    }

    fn warn_of_rules(&self, table: &MountTable) {
        let warnings = self.config.rules.warnings(table, self.config.settings);
        for warning in warnings.iter().take(MAX_WARNINGS) {
            self.notice(Priority::Warning, warning);
        }
        if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS + 1) {
            let text = format!("{} more rules are not in use; see --check-config", more + 1);
            self.notice(Priority::Warning, &text);
        }
    }

    /// The events that are told again come ever more seldom, and that a mount is missing is told once.
    fn catch_up(&mut self, time: SystemTime, monitor: &Monitor) {
        if !std::mem::take(&mut self.alerts_behind) {
            return;
        }
        let status = monitor.status();
        let Some(now) = status.last_run.map(|run| run.at) else { return };
        for event in status.problem_events(now) {
            let (severity, selected) = self.config.rules.on(&event);
            let (priority, text) = messages::line(&event);
            let message = Arc::new(Message { time, priority, text, event: Some(event.clone()) });
            self.hooks.catch_up(&message, selected, severity.as_str());
        }
    }

    fn event(&mut self, time: SystemTime, event: &Event, monitor: &Monitor) {
        let (severity, selected) = self.config.rules.on(event);
        let message = self.reporter.tell(time, event, severity);
        self.hooks.offer(&message, selected, severity.as_str());
        self.live.tell(message);
        let Event::Run { mounts, .. } = event else { return };
        self.catch_up(time, monitor);
        self.hooks.settle(|| monitor.status());
        if std::mem::take(&mut self.first_run) {
            if *mounts == 0 {
                self.notice(Priority::Warning, &format!("Nothing to watch: {NO_MOUNT_LEFT}"));
            }
            self.warn_of_rules(monitor.table());
        }
        if let Some(sink) = &self.dead_list {
            offer_dead(sink, time, monitor);
        }
    }
}

impl Owner for Service {
    fn told(&mut self, time: SystemTime, told: Told<'_>) {
        match told {
            Told::Event(event, monitor) => self.event(time, event, monitor),
            Told::Notice(priority, text) => drop(self.reporter.notice(time, priority, &text)),
        }
    }

    fn wake_with(&mut self, waker: Arc<Waker>) {
        let tell = teller(&self.reporter);
        let warn = move |text: String| tell(Priority::Warning, &text);
        let Some(load) = self.load.take() else { return };
        match ConfigReloader::start(&self.config, load, waker, warn) {
            Ok(reloader) => self.reloader = Some(reloader),
            Err(error) => {
                self.notice(Priority::Error, &format!("Cannot start a thread for configuration: {error}"));
            }
        }
    }

    fn hung_up(&mut self) -> Ended {
        if let Some(reloader) = &self.reloader {
            reloader.request_reload();
            self.reloading = true;
        }
        Ended(false)
    }

    fn is_reloading(&self) -> bool {
        self.reloading
    }

    fn wishes(&mut self, table: &MountTable) -> Option<ConfigUpdate> {
        let ReloadResult { requested, result } = self.reloader.as_ref()?.next_result()?;
        self.reloading &= !requested;
        match result {
            Ok(config) => {
                self.adopt(config, requested);
                self.refused = false;
                self.warn_of_rules(table);
                let config = Arc::clone(&self.config);
                let (settings, expected) = (config.settings, config.expected.clone());
                Some(ConfigUpdate { settings, policy: policy(config), expected })
            }
            Err(problems) => {
                self.refused = true;
                for problem in problems {
                    let text = format!("Configuration not reloaded, the old one stays in force: {problem}");
                    self.notice(Priority::Error, &text);
                }
                None
            }
        }
    }
}

/// Tells something on all sinks, from any thread.
pub(super) fn teller(reporter: &Reporter) -> LogFn {
    let reporter = reporter.clone();
    Arc::new(move |priority, text: &str| drop(reporter.notice(SystemTime::now(), priority, text)))
}

pub(super) fn start_hooks(config: &Config, reporter: &Reporter) -> anyhow::Result<Hooks> {
    Hooks::start(config.hooks.clone(), teller(reporter)).context("cannot start a thread for hooks")
}

pub(super) fn renderer(config: &Config, reporter: &Reporter, hooks: &Hooks) -> Arc<Renderer> {
    let extras = config.metrics.extras(reporter.sinks());
    Arc::new(Renderer::new(MetricSources { hooks: Some(hooks.clone()), ..extras }))
}

fn offer_dead(sink: &Sink, time: SystemTime, monitor: &Monitor) {
    let text = table::bad_mounts(&monitor.status());
    if !text.is_empty() {
        sink.offer(Arc::new(Message { time, priority: Priority::Info, text, event: None }));
    }
}

/// Standard output as a sink: nobody waits for its reader.
struct Lines;

impl Output for Lines {
    fn write(&mut self, message: &Message) -> Delivery {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(message.text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Delivery::Done,
            Err(_) => Delivery::Lost,
        }
    }
}
