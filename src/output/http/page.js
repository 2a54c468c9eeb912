"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const ROWS = Number(document.body.dataset.rows), DEAD = 50, EVENTS = 50;
  const GAP = 400; // milliseconds between two fetches, or more if they take long
  let mounts = null, page = 0, skew = 0, busy = false, due = false, cost = 0;

  const make = (name, attributes, ...content) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...content);
    return element;
  };
  const isDead = (mount) => mount.state === "hung" || mount.state === "failed";
  const rank = (mount) => isDead(mount) ? 0 : mount.state === "slow" ? 1 : mount.state === "hidden" ? 3 : 2;

  const span = (seconds) => {
    if (seconds < 0.00095) return "<1ms";
    if (seconds < 0.9995) return Math.round(seconds * 1000) + "ms";
    if (seconds < 9.95) return Number(seconds.toFixed(1)) + "s";
    const s = Math.round(seconds), two = (a, u, b, v) => b ? `${a}${u}${b}${v}` : `${a}${u}`;
    if (s < 60) return s + "s";
    if (s < 3600) return two(Math.floor(s / 60), "m", s % 60, "s");
    if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "m");
    return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
  };
  const since = (time) => span(Math.max(0, Math.round((Date.now() + skew - Date.parse(time)) / 1000)) || 1e-9);
  const age = (time) => { const text = since(time); return text === "<1ms" ? "0s" : text; };
  const clock = (time) => time.slice(0, 19).replace("T", " ") + " UTC";
  const ago = (time, words) => make("time", { datetime: time, title: clock(time), "data-words": words }, words.replace("%", age(time)));

  const badge = (mount) => make("span", { class: `badge ${mount.state}` },
    mount.state + (mount.errno ? " " + mount.errno : ""));
  const latency = (mount) => mount.latency_seconds !== null ? span(mount.latency_seconds)
    : mount.waiting_seconds !== null ? ">" + span(mount.waiting_seconds) : "–";
  const use = (mount) => {
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
      cell("Last response", "n", mount.last_answer ? ago(mount.last_answer, "% ago") : "never"),
      cell("Use", "n", ...use(mount)), cell("Type", "", mount.fstype), cell("Device", "device", mount.device));
  };

  const known = (mount) => {
    const said = mount.evidence ? mount.evidence.says.join("; ") : "";
    return said ? make("span", { class: "known" }, said) : "";
  };

  const deadOne = (mount) => make("li", {}, badge(mount), make("span", { class: "path" }, mount.mountpoint),
    make("span", { class: "what" }, make("b", {}, `${mount.reason}: ${mount.why}`), " · ",
      ago(mount.since, "for %"), ` (since ${clock(mount.since)}) · ${mount.fstype}` +
      (mount.device ? ` from ${mount.device}` : ""), known(mount)));

  let shownDead = null;
  const showDead = () => {
    const dead = mounts.filter(isDead);
    // Spoken by screen readers when it changes, so it is not touched otherwise.
    const key = JSON.stringify(dead.slice(0, DEAD).map((m) => [m.mountpoint, m.state, m.reason, m.why, m.since, m.evidence && m.evidence.says]).concat(dead.length));
    if (key === shownDead) return;
    shownDead = key;
    $("dead").classList.toggle("some", dead.length > 0);
    $("dead-title").textContent = dead.length === 0 ? "No mount is dead"
      : dead.length === 1 ? "1 mount is dead" : `${dead.length} mounts are dead`;
    const list = dead.slice(0, DEAD).map(deadOne);
    if (dead.length > DEAD) list.push(make("li", { class: "more" }, `and ${dead.length - DEAD} more at the top of the table`));
    $("dead-list").replaceChildren(...list);
  };

  let shownMissing = null;
  const showMissing = (expected) => {
    const missing = expected.filter((mount) => mount.missing);
    const key = JSON.stringify(missing);
    if (key === shownMissing) return;
    shownMissing = key;
    $("missing").hidden = missing.length === 0;
    $("missing-title").textContent = missing.length === 1 ? "1 expected mount is missing"
      : `${missing.length} expected mounts are missing`;
    $("missing-list").replaceChildren(...missing.slice(0, DEAD).map((mount) => make("li", {},
      make("span", { class: "badge missing" }, "missing"), make("span", { class: "path" }, mount.mountpoint),
      make("span", { class: "what" }, make("b", {}, mount.why), " · ", ago(mount.since, "for %"),
        ` (since ${clock(mount.since)}) · ` + (mount.what ? mount.what + ", " : "") + `by ${mount.origin}`))));
  };

  const show = () => {
    if (!mounts) return;
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length === 0 ? mounts : mounts.filter((mount) => {
      const text = `${mount.state} ${mount.errno || ""} ${mount.reason || ""} ${mount.mountpoint} ${mount.fstype} ${mount.device}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    page = Math.min(page, pages - 1);
    $("rows").replaceChildren(...found.slice(page * ROWS, (page + 1) * ROWS).map(row));
    $("note").textContent = words.length ? `${found.length} of ${mounts.length} mounts match` : "";
    $("pages").hidden = pages === 1;
    $("place").textContent = `${page + 1} of ${pages}`;
    $("back").disabled = page === 0;
    $("forth").disabled = page === pages - 1;
  };

  const take = (answer) => {
    const counts = [[answer.missing, "missing"], [answer.slow, "slow"], [answer.denied, "cannot be checked"],
      [answer.pending, "could not be judged"], [answer.hidden, "hidden under other mounts"]];
    const more = counts.filter(([count]) => count > 0).map(([count, what]) => `; ${count} ${what}`).join("");
    $("summary").textContent = `${answer.total} mounts; ${answer.dead} dead${more}`;
    document.title = document.title.replace(/^(\(\d+ dead\) )?/, answer.dead ? `(${answer.dead} dead) ` : "");
    mounts = answer.mounts.map((mount, place) => [rank(mount), place, mount])
      .sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((entry) => entry[2]);
    showDead();
    showMissing(answer.expected);
    show();
  };

  const refresh = async () => {
    if (busy) { due = true; return; }
    busy = true;
    due = false;
    const start = performance.now();
    try {
      const response = await fetch("api/v1/mounts", { cache: "no-store" });
      if (response.ok) {
        const date = Date.parse(response.headers.get("date"));
        if (Math.abs(date - Date.now()) > 2000) skew = date - Date.now(); else skew = 0;
        take(await response.json());
      }
    } catch { /* the event stream says that the daemon is gone */ }
    cost = performance.now() - start;
    setTimeout(() => { busy = false; if (due) refresh(); }, Math.max(GAP, cost * 10));
  };

  const link = (state, text) => { $("link").className = "link " + state; if ($("link").textContent !== text) $("link").textContent = text; };
  const addEvent = (priority, time, message) => {
    const item = make("li", { class: priority }, make("time", { datetime: time }, clock(time)), make("span", {}, message));
    const list = $("events");
    for (const empty of list.querySelectorAll(".empty")) empty.remove();
    list.prepend(item);
    while (list.childElementCount > EVENTS) list.lastElementChild.remove();
  };
  const follow = () => {
    const source = new EventSource("api/v1/events?snapshots=1&after=" + document.body.dataset.lastEvent);
    source.onopen = () => { link("live", "live"); refresh(); };
    source.onerror = () => {
      link("lost", "disconnected; reconnecting");
      // A browser gives up on an answer such as 503; a person would not.
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    };
    source.onmessage = (event) => {
      document.body.dataset.lastEvent = event.lastEventId;
      const told = JSON.parse(event.data);
      // Runs come all the time; what happened in them has events of its own.
      if (told.event !== "run") addEvent(told.priority, told.time, told.message);
    };
    source.addEventListener("missed", (event) =>
      addEvent("warning", new Date(Date.now() + skew).toISOString(), `${JSON.parse(event.data).missed} events were missed`));
    source.addEventListener("snapshot", refresh);
  };

  $("search").addEventListener("submit", (event) => event.preventDefault());
  $("q").addEventListener("input", () => { page = 0; show(); });
  $("back").addEventListener("click", () => { page -= 1; show(); });
  $("forth").addEventListener("click", () => { page += 1; show(); });
  const tick = () => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-words]")) {
      const text = time.dataset.words.replace("%", age(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 2000);
  link("", "connecting");
  follow();
})();
