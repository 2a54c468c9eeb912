//! A real rsyslogd receives the messages over all three transports, and again after its restart.

use crate::common::{Lab, free_port, ms, run_isolated, wait_until};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn rsyslogd_receives_messages_by_socket_udp_and_tcp() {
    run_isolated(|lab| {
        if !Path::new("/usr/sbin/rsyslogd").exists() {
            return lab.skip("rsyslogd is not installed");
        }
        let udp = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port();
        let tcp = free_port();
        let (socket, log) = (lab.scratch_path("log"), lab.scratch_path("messages"));
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\") module(load=\"imudp\") module(load=\"imtcp\")\n\
             input(type=\"imuxsock\" Socket=\"{socket}\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\")\n\
             template(name=\"t\" type=\"string\" string=\"%inputname% %syslogfacility-text%.%syslogseverity-text% \
             %programname%:%msg%\\n\")\n\
             *.* action(type=\"omfile\" file=\"{log}\" template=\"t\")\n",
            socket = socket.display(),
            log = log.display(),
        );
        std::fs::write(lab.scratch_path("rsyslog.conf"), configuration).expect("write a file");
        lab.mount_fuse("a");
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let line = "mount_status_monitor: Checked 1 mount; 0 are dead";
        let targets = [
            ("imuxsock", format!("unix:{}", socket.display())),
            ("imudp", format!("udp://127.0.0.1:{udp}")),
            ("imtcp", format!("tcp://127.0.0.1:{tcp}")),
        ];
        let mut rsyslogd = Rsyslogd::start(lab);
        wait_until(ms(5000), "rsyslogd creates its socket", || socket.exists());
        let daemons: Vec<_> = targets
            .iter()
            .map(|(_, target)| {
                let options = ["--poll-interval", "500ms", "--syslog-facility", "local3", "--syslog", target];
                lab.start_daemon(&options)
            })
            .collect();
        for (input, _) in &targets {
            let wanted = format!("{input} local3.info {line}");
            wait_until(ms(10_000), &wanted, || read().contains(&wanted));
        }
        drop(rsyslogd);
        std::fs::write(&log, "").expect("write a file");
        rsyslogd = Rsyslogd::start(lab);
        for (input, _) in &targets {
            let wanted = format!("{input} local3.info {line}");
            wait_until(ms(20_000), &format!("after a restart: {wanted}"), || read().contains(&wanted));
        }
        for daemon in daemons {
            daemon.stop();
        }
        drop(rsyslogd);
    });
}

struct Rsyslogd(Child);

impl Rsyslogd {
    fn start(lab: &Lab) -> Rsyslogd {
        let child = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(lab.scratch_path("rsyslog.conf"))
            .arg("-i")
            .arg(lab.scratch_path("rsyslog.pid"))
            .stdin(Stdio::null())
            .spawn()
            .expect("rsyslogd starts");
        Rsyslogd(child)
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
