(() => {
  const tip = document.getElementById("tip");
  let on = null;
  const hide = () => {
    if (on) on.classList.remove("on");
    on = null;
    tip.style.opacity = 0;
  };
  // The point nearest to the pointer, if one is within 30 pixels.
  const nearest = (svg, x, y) => {
    let best = null, least = 900;
    for (const each of svg.querySelectorAll("[data-t]")) {
      const box = each.getBoundingClientRect();
      const dx = Math.max(box.left - x, 0, x - box.right), dy = Math.max(box.top - y, 0, y - box.bottom);
      const mx = (box.left + box.right) / 2 - x, my = (box.top + box.bottom) / 2 - y;
      const far = dx * dx + dy * dy + (mx * mx + my * my) / 1e4;
      if (far < least) [best, least] = [each, far];
    }
    return best;
  };
  const show = (event) => {
    const best = nearest(event.currentTarget, event.clientX, event.clientY);
    if (best === on) return;
    hide();
    if (!best) return;
    on = best;
    best.classList.add("on");
    tip.textContent = best.dataset.t;
    const box = best.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = Math.max(4, Math.min(innerWidth - width - 4, (box.left + box.right - width) / 2)) + "px";
    tip.style.top = (box.top - height - 8 < 4 ? box.bottom + 8 : box.top - height - 8) + "px";
    tip.style.opacity = 1;
  };
  for (const svg of document.querySelectorAll("svg.chart")) {
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
})();
