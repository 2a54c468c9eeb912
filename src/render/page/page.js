"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const MAX_ROWS = Number(document.body.dataset.rows);
  const MAX_DETAILED = 50, MAX_EVENTS = 50;
  const MIN_INTERVAL = 400; // milliseconds between two requests; ten times their duration if that is longer
  const MAX_SKEW = 2000; // a smaller difference between the clocks (ms) may be the latency of the response
  const AGE_INTERVAL = 2000, RETRY_INTERVAL = 5000;
  let mounts = null, page = 0;
  let clockSkew = 0; // the server's clock minus ours, in milliseconds
  let isRequesting = false, isOutdated = false;

  const make = (name, attributes, ...content) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...content);
    return element;
  };

  // The same formats as in the HTML that the server renders.
  const formatSeconds = (seconds) => {
    if (seconds === 0) return "0s";
    if (seconds < 0.00095) return "<1ms";
    if (seconds < 0.9995) return Math.round(seconds * 1000) + "ms";
    if (seconds < 9.95) return Number(seconds.toFixed(1)) + "s";
    const s = Math.round(seconds), twoUnits = (a, u, b, v) => b ? `${a}${u}${b}${v}` : `${a}${u}`;
    if (s < 60) return s + "s";
    if (s < 3600) return twoUnits(Math.floor(s / 60), "m", s % 60, "s");
    if (s < 86400) return twoUnits(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "m");
    return twoUnits(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
  };
  const secondsSince = (time) => Math.max(0, (Date.now() + clockSkew - Date.parse(time)) / 1000);
  const age = (time) => formatSeconds(Math.round(secondsSince(time)));
  const clock = (time) => time.slice(0, 19).replace("T", " ") + " UTC";
  const timeElement = (time, text) =>
    make("time", { datetime: time, title: clock(time), "data-text": text }, text.replace("%", age(time)));
  const since = (time) => [timeElement(time, "for %"), ` (since ${clock(time)}) · `];

  const isDead = (mount) => mount.state === "hung" || mount.state === "failed";
  const STATES = ["hung failed", "unknown", "slow", "denied", "pending", "ok", "hidden"];
  const rank = (mount) => STATES.findIndex((states) => states.includes(mount.state));
  const compare = (a, b) => rank(a) - rank(b) || (a.mountpoint < b.mountpoint ? -1 : a.mountpoint > b.mountpoint ? 1 : 0);
  const state = (mount) => {
    if (mount.state === "unknown") return mount.was === "pending" ? "unknown" : `unknown (was ${mount.was})`;
    const detail = mount.errno || (mount.state === "failed" ? mount.reason : "");
    const text = (detail ? `${mount.state} ${detail}` : mount.state) + (mount.flapping_since ? ", flapping" : "");
    // Older than judgements are while all is well.
    const isOld = mount.judged && secondsSince(mount.judged) > mount.poll_interval_seconds + mount.timeout_seconds;
    return isOld ? `${text} (${age(mount.judged)} old)` : text;
  };
  const badge = (mount) => make("span", { class: `badge ${mount.state}` }, state(mount));
  const latency = (mount) => mount.latency_seconds !== null ? formatSeconds(mount.latency_seconds)
    : mount.waiting_seconds !== null ? ">" + formatSeconds(mount.waiting_seconds) : "–";
  const usage = (mount) => {
    if (mount.use_percent === null) return ["–"];
    return [make("meter", { min: 0, max: 100, high: 90, optimum: 0, value: mount.use_percent, "aria-hidden": "true" }),
      Math.ceil(mount.use_percent) + "%"];
  };
  const row = (mount) => {
    const cell = (label, name, ...content) => make("td", { role: "cell", "data-label": label, class: name }, ...content);
    const path = make("th", { role: "rowheader", scope: "row", class: "path" }, mount.mountpoint);
    if (mount.read_only) path.append(make("span", { class: "ro" }, "read-only"));
    return make("tr", { role: "row" }, make("td", { role: "cell" }, badge(mount)), path,
      cell("Latency", "n", latency(mount)),
      cell("Last response", "n", mount.last_answer ? timeElement(mount.last_answer, "% ago") : "never"),
      cell("Use", "n", ...usage(mount)), cell("Type", "", mount.fstype), cell("Device", "device", mount.device));
  };

  const evidence = (mount) => {
    const text = mount.evidence ? mount.evidence.says.join("; ") : "";
    return text ? make("span", { class: "evidence" }, text) : "";
  };
  const deadItem = (mount) => make("li", {}, badge(mount), make("span", { class: "path" }, mount.mountpoint),
    make("span", { class: "what" }, make("b", {}, `${mount.reason}: ${mount.why}`), " · ", ...since(mount.since),
      mount.fstype + (mount.device ? ` from ${mount.device}` : ""), evidence(mount)));
  const missingItem = (mount) => make("li", {},
    make("span", { class: "badge missing" }, "missing"), make("span", { class: "path" }, mount.mountpoint),
    make("span", { class: "what" }, make("b", {}, mount.why), " · ", ...since(mount.since),
      (mount.what ? mount.what + ", " : "") + `required by ${mount.origin}`));

  // Screen readers announce changes of these sections, so they are replaced only when their content changes.
  const shown = {};
  const hasChanged = (section, content) => {
    const key = JSON.stringify(content);
    if (shown[section] === key) return false;
    shown[section] = key;
    return true;
  };
  const showDead = () => {
    const dead = mounts.filter(isDead), detailed = dead.slice(0, MAX_DETAILED);
    const content = detailed.map((m) => [m.mountpoint, m.state, m.reason, m.why, m.since, m.evidence && m.evidence.says]);
    const unjudged = mounts.filter((mount) => mount.state === "unknown" || mount.state === "pending").length;
    if (!hasChanged("dead", [dead.length, unjudged, content])) return;
    $("dead").classList.toggle("some", dead.length > 0);
    $("dead").classList.toggle("unsure", dead.length === 0 && unjudged > 0);
    $("dead-title").textContent = unjudged > 0 && dead.length === 0
      ? `${unjudged} ${unjudged === 1 ? "mount" : "mounts"} could not be judged`
      : dead.length === 0 ? "No mount is dead"
      : dead.length === 1 ? "1 mount is dead" : `${dead.length} mounts are dead`;
    const items = detailed.map(deadItem);
    const more = dead.length - detailed.length;
    if (more > 0) items.push(make("li", { class: "more" }, `and ${more} more at the top of the table`));
    $("dead-list").replaceChildren(...items);
  };
  const showMissing = (expected) => {
    const missing = expected.filter((mount) => mount.missing);
    if (!hasChanged("missing", missing)) return;
    $("missing").hidden = missing.length === 0;
    $("missing-title").textContent = missing.length === 1 ? "1 expected mount is missing"
      : `${missing.length} expected mounts are missing`;
    $("missing-list").replaceChildren(...missing.slice(0, MAX_DETAILED).map(missingItem));
  };
  const showTable = () => {
    if (!mounts) return;
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const contains = (mount) => {
      const text = [state(mount), mount.reason, mount.mountpoint, mount.fstype, mount.device].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const matching = mounts.filter(contains);
    const pages = Math.max(1, Math.ceil(matching.length / MAX_ROWS));
    page = Math.min(page, pages - 1);
    $("rows").replaceChildren(...matching.slice(page * MAX_ROWS, (page + 1) * MAX_ROWS).map(row));
    $("note").textContent = words.length ? `${matching.length} of ${mounts.length} mounts match` : "";
    $("pages").hidden = pages === 1;
    $("page").textContent = `${page + 1} of ${pages}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page === pages - 1;
  };
  const showStatus = (status) => {
    const counts = [[status.missing, "missing"], [status.slow, "slow"], [status.denied, "cannot be checked"],
      [status.pending + status.unknown, "could not be judged"], [status.hidden, "hidden under other mounts"]];
    const others = counts.filter(([count]) => count > 0).map(([count, what]) => `; ${count} ${what}`).join("");
    $("summary").textContent = `${status.total} ${status.total === 1 ? "mount" : "mounts"}; ${status.dead} dead${others}`;
    document.title = document.title.replace(/^(\(\d+ dead\) )?/, status.dead ? `(${status.dead} dead) ` : "");
    mounts = status.mounts.sort(compare);
    showDead();
    showMissing(status.expected);
    showTable();
  };

  const refresh = async () => {
    isOutdated = isRequesting;
    if (isRequesting) return;
    isRequesting = true;
    const start = performance.now();
    try {
      const response = await fetch("api/v1/mounts", { cache: "no-store" });
      if (response.ok) {
        const skew = Date.parse(response.headers.get("date")) - Date.now();
        clockSkew = Math.abs(skew) > MAX_SKEW ? skew : 0;
        showStatus(await response.json());
      }
    } catch { /* the event stream reports a lost connection */ }
    const pause = Math.max(MIN_INTERVAL, (performance.now() - start) * 10);
    setTimeout(() => { isRequesting = false; if (isOutdated) refresh(); }, pause);
  };

  const showLink = (state, text) => {
    $("link").className = "link " + state;
    if ($("link").textContent !== text) $("link").textContent = text;
  };
  const addEvent = (priority, time, message) => {
    const item = make("li", { class: priority }, make("time", { datetime: time }, clock(time)), make("span", {}, message));
    const list = $("events");
    for (const empty of list.querySelectorAll(".empty")) empty.remove();
    list.prepend(item);
    while (list.childElementCount > MAX_EVENTS) list.lastElementChild.remove();
  };
  const subscribe = () => {
    const source = new EventSource("api/v1/events?snapshots=1&after=" + document.body.dataset.lastEvent);
    source.onopen = () => { showLink("live", "live"); refresh(); };
    source.onerror = () => {
      showLink("lost", "disconnected; reconnecting");
      // The browser does not retry after a response such as 503.
      if (source.readyState === EventSource.CLOSED) setTimeout(subscribe, RETRY_INTERVAL);
    };
    source.onmessage = (message) => {
      document.body.dataset.lastEvent = message.lastEventId;
      const event = JSON.parse(message.data);
      // Runs are routine; their results have events of their own.
      if (event.event !== "run") addEvent(event.priority, event.time, event.message);
    };
    source.addEventListener("missed", (message) => addEvent("warning",
      new Date(Date.now() + clockSkew).toISOString(), `${JSON.parse(message.data).missed} events were missed`));
    source.addEventListener("snapshot", refresh);
  };

  $("search").addEventListener("submit", (event) => event.preventDefault());
  $("q").addEventListener("input", () => { page = 0; showTable(); });
  $("previous").addEventListener("click", () => { page -= 1; showTable(); });
  $("next").addEventListener("click", () => { page += 1; showTable(); });
  setInterval(() => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-text]")) {
      const text = time.dataset.text.replace("%", age(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }, AGE_INTERVAL);
  showLink("", "connecting");
  subscribe();
})();
