//! The status page in a real browser.

use super::browser::{self, Browser};
use super::{get, start_with_http};
use crate::common::{display_path, ms, run_isolated, run_isolated_for, wait_until};
use crate::{QUICK, QUICK_HANG};
use std::path::Path;
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
        assert_eq!(browser.value(ROWS), "4");
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

        // Its next steps are those of `diagnose`, and stay open while the page is updated.
        let steps = browser.value("document.querySelector('#dead-list details ol').textContent");
        assert!(steps.contains("aborts the FUSE connection for all its mounts"), "{steps}");
        // Type into the filter.
        browser.value(
            "(() => { document.querySelector('#dead-list details').open = false; \
             const q = document.getElementById('q'); q.value = 'HUNG fault'; \
             q.dispatchEvent(new Event('input', { bubbles: true })); })()",
        );
        wait_until(RENDERING, "the filter applies", || browser.value(ROWS) == "1");
        assert_eq!(
            browser.value("document.getElementById('note').textContent"),
            "1 of 4 mounts match (show all)"
        );
        assert_eq!(browser.value("location.search"), "?q=HUNG+fault");
        assert_eq!(browser.value("document.querySelector('#dead-list details').open"), "false");

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
        assert_eq!(browser.value(ROWS), "1");
        assert_eq!(browser.value("getComputedStyle(document.querySelector('.badge')).borderRadius"), "99px");
        assert!(browser.value("document.getElementById('events').textContent").contains("(stale: "));
        // The form works by itself.
        browser.value(
            "(() => { document.getElementById('q').value = ''; document.getElementById('state').value = 'ok'; \
             document.getElementById('sort').value = 'path'; document.getElementById('search').submit(); })()",
        );
        wait_until(RENDERING, "the form was sent", || {
            browser.is_loaded("location.search === '?q=&state=ok&server=&sort=path'")
        });
        assert_eq!(browser.value(ROWS), "2");
        assert_eq!(browser.value("document.getElementById('state').value"), "ok");
        let dead = browser.value("document.getElementById('dead-list').textContent");
        assert_eq!(dead, "the filter matches none of them");
        assert_eq!(browser.problems(), Vec::<String>::new());
        daemon.stop();
    });
}

/// Without a browser: what anybody can request.
#[test]
fn page_is_filtered_and_sorted_by_its_address() {
    run_isolated(|lab| {
        let [first, second, third] = [("c", "nas1:/c"), ("a", "nas1:/a"), ("b", "nas2:/b")]
            .map(|(name, device)| lab.mount_fuse_with(name, &format!("allow_other fsname={device}")));
        let (daemon, address) = start_with_http(lab, QUICK);
        for path in [&first, &second, &third] {
            lab.set_fault("errno ESTALE", path);
            daemon.wait_for_failure(path, "stale", QUICK_HANG);
        }
        let row = |path: &Path| format!("scope=\"row\" class=\"path\">{}<", display_path(path));
        let page = |query: &str| get(address, &format!("/?{query}")).text().to_owned();
        wait_until(ms(2000), "the page shows the failures", || page("").contains("3 mounts are dead"));
        let found = |page: &str| [&first, &second, &third].map(|path| page.find(&row(path)));
        let [first_at, second_at, third_at] = found(&page("state=dead&server=nas1&q=fuse&sort=since"));
        assert!(
            second_at.is_some() && second_at < first_at && third_at.is_none(),
            "the last to die is first"
        );
        let [first_at, second_at, _] = found(&page("state=dead&server=nas1&sort=path"));
        assert!(second_at.is_some() && second_at < first_at, "a is before c");
        let [first_at, second_at, third_at] = found(&page("sort=server"));
        assert!(second_at < first_at && first_at < third_at, "nas1 is before nas2");
        assert_eq!(found(&page("state=ok")), [None; 3]);
        let ignored = page("state=bad&colour=%3Cb%3E");
        assert!(ignored.contains("state=bad is not known and ignored; colour=&lt;b&gt; is not known"));
        let all = page("");
        assert_eq!(all.matches("<summary>Next steps</summary>").count(), 3);
        assert_eq!(all.matches("<span>Mount failed health-check: ").count(), 3, "the history");
        let request =
            "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
        let compressed = super::send(address, request);
        assert_eq!(compressed.header("content-encoding"), Some("gzip"));
        assert!(compressed.body.len() < all.len() / 2, "{} of {}", compressed.body.len(), all.len());
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
        wait_until(RENDERING, "the next page is shown", || {
            browser.value("document.getElementById('page').textContent") == "2 of 4"
        });
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

/// A phone.
#[test]
fn page_fits_into_360_pixels() {
    run_isolated_for(BROWSER_LIMIT, |lab| {
        if !browser::is_installed() {
            return lab.skip("needs chromium");
        }
        let long =
            lab.mount_fuse(["a-long-name-of-a-mount-point-that-does-not-fit-into-one-line"; 3].join("/"));
        lab.set_fault("errno EHOSTUNREACH", &long);
        let (daemon, address) = start_with_http(lab, QUICK);
        wait_until(ms(2000), "the page shows the failure", || {
            super::mount_json(address, &long)["state"] == "failed"
        });
        let browser = Browser::start(&lab.scratch_path("browser"));
        browser.resize(360, 800);
        browser.open(&format!("http://{address}/"));
        wait_until(RENDERING, "the page is live", || browser.value(LINK) == "live");
        assert_eq!(browser.value("document.documentElement.scrollWidth"), "360");
        // The text of a badge has one line.
        assert_eq!(
            browser.value(
                "[...document.querySelectorAll('.badge')].filter((it) => it.getClientRects().length !== 1 \
                 || it.getBoundingClientRect().height > 30).length"
            ),
            "0"
        );
        daemon.stop();
    });
}

const ROWS: &str = "document.querySelectorAll('#rows tr').length";
const DEAD_TITLE: &str = "document.getElementById('dead-title').textContent";
const LINK: &str = "document.getElementById('link').textContent";
