//! A single run (`--once-only`) exports its result before it ends, with a short timeout.

use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::{CommandOutput, free_address, ms, run_isolated, slack, utf8};

#[test]
fn single_run_pushes_and_writes_once() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno EIO", &mounts[0]);
        let (fake, file) = (FakeServer::start(Behavior::Accept), lab.scratch_path("m.prom"));
        let path = utf8(&file);
        let command = lab.daemon_command(&[
            "--once-only",
            "--prometheus-push-gateway",
            &fake.address,
            "--textfile",
            path,
        ]);
        let result = CommandOutput::run(command, ms(5000));
        result.assert_code(1);
        let requests = fake.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        let written = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}\n{}", result.stderr));
        for text in [&requests[0].body, &written] {
            assert!(
                text.contains("\ntotal_mountpoints 3\n") && text.contains("dead_mountpoints 1\n"),
                "{text}"
            );
        }
    });
}

#[test]
fn single_run_does_not_wait_for_the_gateway() {
    run_isolated(|lab| {
        lab.mount_fuses(3);
        let (silent, closed) =
            (FakeServer::start(Behavior::Unresponsive).address, free_address().to_string());
        let refused = format!("Cannot push metrics to http://{closed}/: Connection refused");
        for (address, message) in
            [(silent, "Cannot export metrics (push): no response in time"), (closed, &refused)]
        {
            let command = lab.daemon_command(&["--once-only", "--prometheus-push-gateway", &address]);
            let result = CommandOutput::run(command, ms(5000));
            result.assert_code(0);
            result.assert_stderr_contains(message);
            assert!(result.elapsed < ms(2000) + slack(), "{:?}", result.elapsed);
        }
    });
}
