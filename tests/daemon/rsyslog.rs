//! A real rsyslogd gets the messages by all three ways, and again after it was restarted.

use crate::common::{Lab, isolated, ms, skipped, soon};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn rsyslogd_is_told_by_socket_udp_and_tcp() {
    if !Path::new("/usr/sbin/rsyslogd").exists() {
        return skipped(this_test!(), "rsyslogd is not installed");
    }
    isolated(this_test!(), |lab| {
        // Ports that were free a moment ago.
        let udp = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a port").port();
        let tcp = TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a port").port();
        let (socket, log) = (lab.aside("log"), lab.aside("messages"));
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
        std::fs::write(lab.aside("rsyslog.conf"), configuration).expect("a file can be written");
        lab.fuse("a");
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let line = "mount_status_monitor: Checked 1 mounts; 0 are dead";
        let targets = [
            ("imuxsock", format!("unix:{}", socket.display())),
            ("imudp", format!("udp://127.0.0.1:{udp}")),
            ("imtcp", format!("tcp://127.0.0.1:{tcp}")),
        ];
        let mut rsyslogd = Rsyslogd::start(lab);
        soon(ms(5000), "rsyslogd makes its socket", || socket.exists());
        let daemons: Vec<_> = targets
            .iter()
            .map(|(_, target)| {
                let options = ["--poll-interval", "500ms", "--syslog-facility", "local3", "--syslog", target];
                lab.daemon(&options)
            })
            .collect();
        for (input, _) in &targets {
            let wanted = format!("{input} local3.info {line}");
            soon(ms(10_000), &wanted, || read().contains(&wanted));
        }
        drop(rsyslogd);
        std::fs::write(&log, "").expect("a file can be written");
        rsyslogd = Rsyslogd::start(lab);
        for (input, _) in &targets {
            let wanted = format!("{input} local3.info {line}");
            soon(ms(20_000), &format!("after a restart: {wanted}"), || read().contains(&wanted));
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
            .arg(lab.aside("rsyslog.conf"))
            .arg("-i")
            .arg(lab.aside("rsyslog.pid"))
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
