// Added to the page that is measured: says, after some refreshes, what it looks like.
"use strict";

const AFTER_MS = 7000;

// The colour as the screen shows it, whatever notation the style sheet uses.
function pixel(colour) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return Array.from(context.getImageData(0, 0, 1, 1).data);
}

// Relative luminance, as the accessibility guidelines define it: 0 is black, 1 is white.
function luminance([red, green, blue]) {
  const linear = [red, green, blue].map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function background() {
  const colours = [document.body, document.documentElement].map(
    (element) => pixel(getComputedStyle(element).backgroundColor),
  );
  return colours.find((colour) => colour[3] === 255) ?? [255, 255, 255, 255];
}

function measure() {
  const root = document.documentElement;
  const behind = luminance(background());
  const text = luminance(pixel(getComputedStyle(document.body).color));
  const beyond = Array.from(document.querySelectorAll("body *"))
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => `${element.tagName} ${element.getAttribute("class") ?? ""}`);
  return {
    width: innerWidth,
    overflow: root.scrollWidth - root.clientWidth,
    beyond: beyond.slice(0, 10),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    background: behind,
    contrast: (Math.max(behind, text) + 0.05) / (Math.min(behind, text) + 0.05),
    requests: performance.getEntriesByType("resource").map((entry) => entry.name),
    lost: !document.getElementById("lost").hidden,
    text: document.body.innerText,
  };
}

addEventListener("load", () => {
  setTimeout(() => {
    parent.document.getElementById("measured").textContent = JSON.stringify(measure());
  }, AFTER_MS);
});
