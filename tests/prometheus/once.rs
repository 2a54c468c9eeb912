//! One run (`--once-only`) sends what it found before it ends, and waits for nobody for long.

use crate::common::{CommandOutput, ms, run_isolated, slack};
use crate::fake::{Fake, Manner};
use crate::peer::free_port;

#[test]
fn one_run_pushes_and_writes_once() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno EIO", &mounts[0]);
        let (fake, file) = (Fake::start(Manner::Kind), lab.scratch_path("m.prom"));
        let path = file.to_str().expect("plain");
        let command = lab.daemon_command(&[
            "--once-only",
            "--prometheus-push-gateway",
            &fake.address,
            "--textfile",
            path,
        ]);
        let done = CommandOutput::run(command, ms(5000));
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let requests = fake.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        let written = std::fs::read_to_string(&file).expect("it was written");
        for text in [&requests[0].body, &written] {
            assert!(
                text.contains("\ntotal_mountpoints 3\n") && text.contains("dead_mountpoints 1\n"),
                "{text}"
            );
        }
    });
}

#[test]
fn one_run_does_not_wait_for_a_gateway() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(3);
        for (address, says) in [
            (Fake::start(Manner::BlackHole).address, "Cannot push metrics: no answer in time"),
            (format!("127.0.0.1:{}", free_port()), "Cannot push metrics: Connection refused"),
        ] {
            let command = lab.daemon_command(&["--once-only", "--prometheus-push-gateway", &address]);
            let done = CommandOutput::run(command, ms(5000));
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            done.assert_stderr_contains(says);
            assert!(done.elapsed < ms(2000) + slack(), "{:?}", done.elapsed);
        }
    });
}
