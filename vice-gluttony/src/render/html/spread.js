"use strict";
(function () {
  // The pictures stand without this; it only moves the moment that they show. It reads numbers from data attributes,
  // writes numbers and fixed words, and makes no markup.
  var PLAY_MS = 14000, LEFT = 176, RIGHT = 976;
  var STACK = [3, 2, 1, 4];

  function duration(ms) {
    var s = Math.floor(ms / 1000), two = function (n) { return (n < 10 ? "0" : "") + n; };
    if (ms < 1000) { return ms + "ms"; }
    if (ms < 60000) { return s + "." + Math.floor(ms % 1000 / 100) + "s"; }
    if (ms < 3600000) { return Math.floor(s / 60) + "m " + two(s % 60) + "s"; }
    if (ms < 86400000) { return Math.floor(s / 3600) + "h " + two(Math.floor(s % 3600 / 60)) + "m"; }
    return Math.floor(s / 86400) + "d " + Math.floor(s % 86400 / 3600) + "h";
  }

  function grouped(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ","); }

  function numbers(text) { return text.split(",").map(Number); }

  function countsAt(changes, at) {
    // The last change that is not later.
    var low = 0, high = changes.length - 1;
    while (low < high) {
      var middle = (low + high + 1) >> 1;
      if (changes[middle][0] <= at) { low = middle; } else { high = middle - 1; }
    }
    return changes[low].slice(1);
  }

  function heights(counts, height) {
    var units = counts.reduce(function (a, b) { return a + b; }, 0) || 1, least = Math.min(height / 5, 1.5);
    var seen = STACK.map(function (phase) {
      var exact = counts[phase] / units * height;
      return exact > 0 ? Math.max(exact, least) : 0;
    });
    var sum = seen.reduce(function (a, b) { return a + b; }, 0);
    return sum > height ? seen.map(function (h) { return h * height / sum; }) : seen;
  }

  function start(root) {
    var times = numbers(root.dataset.times), end = Math.max(times[times.length - 1], 1);
    var rows = root.dataset.rows ? root.dataset.rows.split("|").map(function (row) { return row.split(";").map(numbers); }) : [];
    var shares = root.dataset.shares ? root.dataset.shares.split(";").map(numbers) : [];
    var find = function (query) { return root.querySelector(query); };
    var player = find(".player"), button = find(".play"), slider = find("input"), clock = find(".clock");
    var share = find(".share"), cursor = find(".cursor"), future = find(".future"), map = find(".map");
    var counts = root.querySelectorAll(".count i + b");
    var tiles = Array.prototype.map.call(root.querySelectorAll(".tile"), function (tile) {
      var rects = tile.querySelectorAll("rect");
      return { y: +rects[0].getAttribute("y"), h: +rects[0].getAttribute("height"), parts: Array.prototype.slice.call(rects, 1, 5) };
    });
    // A picture has at most some hundred moments; with more, steps would follow faster than they can be seen.
    var playing = 0, stride = Math.ceil(times.length / 400);

    function moved(at) { root.classList.add("moved"); show(at); }

    function show(at) {
      var totals = [0, 0, 0, 0, 0], ms = times[at], x = LEFT + ms / end * (RIGHT - LEFT);
      rows.forEach(function (changes, index) {
        var now = countsAt(changes, at), tile = tiles[index], below = 0;
        now.forEach(function (n, phase) { totals[phase] += n; });
        heights(now, tile.h).forEach(function (h, part) {
          tile.parts[part].setAttribute("y", part === 3 ? tile.y : tile.y + tile.h - below - h);
          tile.parts[part].setAttribute("height", h);
          below += h;
        });
      });
      counts.forEach(function (element, phase) { element.textContent = grouped(totals[phase]); });
      clock.textContent = "+" + duration(ms);
      if (share) {
        var points = 0;
        shares.forEach(function (one) { if (one[0] <= ms) { points = one[1]; } });
        share.textContent = (points % 100 ? (points / 100).toFixed(2) : points / 100) + " %";
      }
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
      future.setAttribute("x", x); future.setAttribute("width", Math.max(RIGHT - x, 0));
      slider.value = at;
      slider.setAttribute("aria-valuetext", duration(ms) + " after the start, " + grouped(totals[2]) + " units on the new release");
    }

    function stop() { clearInterval(playing); playing = 0; button.textContent = "▶ Play"; }

    function next() {
      var at = Math.min(+slider.value + stride, times.length - 1);
      moved(at);
      if (at >= times.length - 1) { stop(); }
    }

    function toggle() {
      if (playing) { stop(); return; }
      if (+slider.value >= times.length - 1) { moved(0); }
      button.textContent = "❚❚ Pause";
      playing = setInterval(next, PLAY_MS * stride / times.length);
    }

    function point(event) {
      var box = map.getBoundingClientRect(), ms = ((event.clientX - box.left) / box.width * 1000 - LEFT) / (RIGHT - LEFT) * end, at = 0;
      times.forEach(function (time, index) { if (time <= ms) { at = index; } });
      stop(); moved(at);
    }

    button.addEventListener("click", toggle);
    slider.addEventListener("input", function () { stop(); moved(+slider.value); });
    slider.addEventListener("keydown", function (event) { if (event.key === " ") { event.preventDefault(); toggle(); } });
    map.addEventListener("pointerdown", point);
    map.addEventListener("pointermove", function (event) { if (event.buttons & 1) { point(event); } });
    player.hidden = false;
    root.classList.add("live");
    show(+slider.value);
  }

  document.querySelectorAll(".spread").forEach(start);
})();
