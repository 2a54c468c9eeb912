"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  // What is replaced by that of the page as it is now.
  const SECTIONS = ["summary", "checked", "notices", "dead", "missing", "server", "note", "rows", "pages", "events", "other-events"];
  const MIN_INTERVAL = 400; // milliseconds between two requests; ten times their duration if that is longer
  const MAX_SKEW = 2000; // a smaller difference between the clocks (ms) may be the latency of the response
  const AGE_INTERVAL = 2000, RETRY_INTERVAL = 5000;
  let clockSkew = 0; // the server's clock minus ours, in milliseconds
  let isRequesting = false, isOutdated = false;

  const age = (time) => {
    const s = Math.max(0, Math.round((Date.now() + clockSkew - Date.parse(time)) / 1000));
    const twoUnits = (size, unit, next, nextUnit) => {
      const rest = Math.floor(s % size / next);
      return Math.floor(s / size) + unit + (rest ? rest + nextUnit : "");
    };
    if (s < 60) return s + "s";
    if (s < 3600) return twoUnits(60, "m", 1, "s");
    return s < 86400 ? twoUnits(3600, "h", 60, "m") : twoUnits(86400, "d", 3600, "h");
  };
  const agesIn = (element) => [...element.querySelectorAll("time[data-text]")];
  const showAges = () => {
    for (const time of agesIn(document)) {
      const text = time.dataset.text.replace("%", age(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };

  // Screen readers announce changes of some sections, and people read in them: they are replaced only when something
  // other than ages changes, and details stay as open as they are.
  const fingerprint = (element) => {
    const copy = element.cloneNode(true);
    for (const time of agesIn(copy)) {
      for (const name of ["datetime", "title"]) time.removeAttribute(name);
      time.textContent = "";
    }
    for (const details of copy.querySelectorAll("details")) details.open = false;
    return [element.className, element.hidden, copy.innerHTML].join("\n");
  };
  const update = (shown, fresh) => {
    if (fingerprint(shown) === fingerprint(fresh)) {
      const times = agesIn(fresh);
      agesIn(shown).forEach((time, index) => {
        time.dateTime = times[index].dateTime;
        time.title = times[index].title;
      });
      return;
    }
    const isOpen = new Map([...shown.querySelectorAll("details")].map((it) => [it.dataset.key, it.open]));
    for (const it of fresh.querySelectorAll("details")) it.open = isOpen.get(it.dataset.key) ?? it.open;
    shown.className = fresh.className;
    shown.hidden = fresh.hidden;
    shown.replaceChildren(...fresh.childNodes);
  };

  const refresh = async () => {
    isOutdated = isRequesting;
    if (isRequesting) return;
    isRequesting = true;
    const start = performance.now();
    try {
      const response = await fetch(location.href, { cache: "no-store" });
      if (response.ok) {
        const skew = Date.parse(response.headers.get("date")) - Date.now();
        clockSkew = Math.abs(skew) > MAX_SKEW ? skew : 0;
        const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
        document.title = fresh.title;
        for (const id of SECTIONS) update($(id), fresh.getElementById(id));
        showAges();
      }
    } catch { /* the event stream reports a lost connection */ }
    const pause = Math.max(MIN_INTERVAL, (performance.now() - start) * 10);
    setTimeout(() => { isRequesting = false; if (isOutdated) refresh(); }, pause);
  };

  const showLink = (state, text) => {
    $("link").className = "link " + state;
    if ($("link").textContent !== text) $("link").textContent = text;
  };
  const subscribe = () => {
    const source = new EventSource("api/v1/events?snapshots=1");
    source.onopen = () => { showLink("live", "live"); refresh(); };
    source.onerror = () => {
      showLink("lost", "disconnected; reconnecting");
      // The browser does not retry after a response such as 503.
      if (source.readyState === EventSource.CLOSED) setTimeout(subscribe, RETRY_INTERVAL);
    };
    for (const kind of ["message", "missed", "snapshot"]) source.addEventListener(kind, refresh);
  };

  // The address has the filter, so that it can be shared.
  const applyFilter = () => {
    const chosen = [...new FormData($("search"))].filter(([, value]) => value !== "");
    const query = new URLSearchParams(chosen).toString();
    history.replaceState(null, "", query ? "?" + query : location.pathname);
    refresh();
  };
  $("search").addEventListener("submit", (event) => { event.preventDefault(); applyFilter(); });
  $("search").addEventListener("input", applyFilter);
  setInterval(() => { if (!document.hidden) showAges(); }, AGE_INTERVAL);
  showLink("", "connecting");
  subscribe();
})();
