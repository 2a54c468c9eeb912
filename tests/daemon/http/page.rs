//! The status page in a real browser.

use super::browser::{self, Browser};
use super::{get, start_with_http};
use crate::common::{display_path, ms, run_isolated, run_isolated_for, wait_until};
use crate::{QUICK, QUICK_HANG};
use std::time::Duration;

const BROWSER_LIMIT: Duration = Duration::from_secs(180);
/// What a browser may take on a loaded machine. `events.rs` and `routes.rs` check how soon the daemon publishes.
const RENDERING: Duration = Duration::from_secs(30);

#[test]
fn hang_appears_on_the_open_page() {
    run_isolated_for(BROWSER_LIMIT, |lab| {
        if !browser::is_installed() {
            return lab.skip("needs chromium");
        }
        let mounts = lab.mount_fuses(3);
        let odd = lab.mount_fuse_with("<img src=x onerror=alert(1)>", "allow_other");
        let (daemon, address) = start_with_http(lab, QUICK);
        let browser = Browser::start(&lab.scratch_path("browser"));
        browser.open(&format!("http://{address}/"));
        wait_until(RENDERING, "the page is live", || browser.value(LINK) == "live");
        assert_eq!(browser.value(DEAD_TITLE), "No mount is dead");
        assert_eq!(browser.value("document.querySelectorAll('tbody tr').length"), "4");
        assert!(browser.value("document.querySelector('tbody').textContent").contains(&display_path(&odd)));
        assert_eq!(browser.value("document.querySelectorAll('tbody img').length"), "0");

        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        wait_until(RENDERING, "the page shows the failure", || {
            browser.value(DEAD_TITLE) == "1 mount is dead"
        });
        let dead = browser.value("document.getElementById('dead-list').textContent");
        assert!(dead.contains(&display_path(&mounts[1])) && dead.contains("hung: no response in "), "{dead}");
        assert!(browser.value("document.querySelector('tbody tr').textContent").starts_with("hung"));
        assert!(
            browser
                .value("document.querySelector('#events').textContent")
                .contains("Mount failed health-check: ")
        );
        assert!(browser.value("document.title").starts_with("(1 dead) Mounts on "));

        // Type into the filter.
        browser.value(
            "(() => { const q = document.getElementById('q'); q.value = 'HUNG fault'; \
             q.dispatchEvent(new Event('input')); })()",
        );
        assert_eq!(browser.value("document.querySelectorAll('tbody tr').length"), "1");
        assert_eq!(browser.value("document.getElementById('note').textContent"), "1 of 4 mounts match");

        lab.clear_fault(&mounts[1]);
        daemon.wait_for_recovery(&mounts[1], ms(1000));
        wait_until(RENDERING, "the page shows the recovery", || {
            browser.value(DEAD_TITLE) == "No mount is dead"
        });
        assert_eq!(browser.problems(), Vec::<String>::new());
        daemon.stop();
        wait_until(RENDERING, "the page shows the lost connection", || {
            browser.value(LINK).starts_with("disconnected")
        });
    });
}

#[test]
fn page_works_without_javascript() {
    run_isolated_for(BROWSER_LIMIT, |lab| {
        if !browser::is_installed() {
            return lab.skip("needs chromium");
        }
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[2]);
        let (daemon, address) = start_with_http(lab, QUICK);
        wait_until(ms(2000), "the page shows the failure", || {
            super::mount_json(address, &mounts[2])["state"] == "failed"
        });
        let browser = Browser::start(&lab.scratch_path("browser"));
        browser.disable_scripts();
        browser.open(&format!("http://{address}/?q=estale+FAULT"));
        assert_eq!(browser.value(DEAD_TITLE), "1 mount is dead");
        assert_eq!(browser.value("document.querySelectorAll('tbody tr').length"), "1");
        assert_eq!(browser.value("getComputedStyle(document.querySelector('.badge')).borderRadius"), "99px");
        assert_eq!(browser.problems(), Vec::<String>::new());
        daemon.stop();
    });
}

#[test]
fn two_thousand_mounts_are_paged() {
    run_isolated_for(BROWSER_LIMIT, |lab| {
        if !browser::is_installed() {
            return lab.skip("needs chromium");
        }
        let mounts = lab.mount_fuses(2000);
        let (daemon, address) = start_with_http(lab, &["--poll-interval", "2"]);
        let page = get(address, "/");
        assert_eq!(page.text().matches("<tr role=\"row\"><td").count(), 500);
        assert!(page.text().contains("the first 500 of 2000 are shown"));
        let browser = Browser::start(&lab.scratch_path("browser"));
        browser.open(&format!("http://{address}/"));
        wait_until(RENDERING, "the page is live", || {
            browser.value("document.getElementById('page').textContent") == "1 of 4"
        });
        browser.value("document.getElementById('next').click()");
        assert_eq!(browser.value("document.getElementById('page').textContent"), "2 of 4");
        lab.set_fault("errno EIO", &mounts[1999]);
        daemon.wait_for_failure(&mounts[1999], "io_error", ms(3000));
        wait_until(RENDERING, "the page shows the failure", || {
            browser.value(DEAD_TITLE) == "1 mount is dead"
        });
        assert_eq!(browser.problems(), Vec::<String>::new());
        daemon.stop();
    });
}

#[test]
fn page_runs_no_other_script() {
    run_isolated(|lab| {
        lab.mount_fuse_with("<script>alert(1)", "allow_other");
        let (daemon, address) = start_with_http(lab, QUICK);
        let page = get(address, "/?q=%22%3E%3Cscript%3E");
        let policy = page.header("content-security-policy").expect("the header exists");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.text().matches("<script>").count(), 1);
        daemon.stop();
    });
}

const DEAD_TITLE: &str = "document.getElementById('dead-title').textContent";
const LINK: &str = "document.getElementById('link').textContent";
