"""How the page looks: light and dark, on a phone and on paper."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #fff; --text: #1d2127; --quiet: #5b6470; --line: #d9dde3; --panel: #f5f6f8;
  --link: #0b5cad; --warn: #8a5300; --warn-ground: #fff5e0; --warn-line: #e8b45a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181c; --text: #e4e7eb; --quiet: #9aa4b0; --line: #343a42; --panel: #1d2126;
    --link: #7db8ff; --warn: #ffca7a; --warn-ground: #2b2314; --warn-line: #80602a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .6rem; }
h3 { font-size: 1.1rem; margin: 0 0 .5rem; }
h4 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
a { color: var(--link); }
p { margin: .4rem 0; }
main > section { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 1.4rem; }
.quiet, figcaption, caption, footer { color: var(--quiet); font-size: .875rem; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre {
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem;
  margin: .6rem 0; white-space: normal;
}
pre span { display: inline-block; margin-right: 1ch; max-width: 100%; }
nav ol { columns: 22rem; column-gap: 2.5rem; margin: 0; padding-left: 1.6rem; }
nav li { break-inside: avoid; padding: .1rem 0; }
.tables { align-items: flex-start; column-gap: 3rem; display: flex; flex-wrap: wrap; }
.tables > details { flex-basis: 100%; }
.scroll { overflow-x: auto; margin: .7rem 0 1rem; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; padding-bottom: .3rem; text-align: left; }
th, td {
  border-bottom: 1px solid var(--line); overflow-wrap: normal; padding: .28rem .7rem;
  text-align: right; vertical-align: top;
}
th { font-weight: 600; }
thead th { border-bottom-width: 2px; vertical-align: bottom; }
th:first-child, td:first-child, .texts td, .texts th { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
.texts td { overflow-wrap: anywhere; min-width: 7rem; }
tbody th { font-weight: 400; }
article { margin: 1.6rem 0; }
summary { cursor: pointer; padding: .2rem 0; }
details.run {
  border: 1px solid var(--line); border-radius: 8px; margin: .8rem 0; padding: .5rem 1rem;
}
details.run > summary { font-weight: 600; }
details.run > article { margin: .8rem 0; }
.options { columns: 17rem; column-gap: 2.5rem; list-style: none; margin: .6rem 0; padding: 0; }
.options li { break-inside: avoid; font-size: .9rem; }
.warnings { padding: 0; list-style: none; }
.warnings li {
  background: var(--warn-ground); border-left: 4px solid var(--warn-line);
  border-radius: 0 6px 6px 0; color: var(--warn); margin: .4rem 0; padding: .4rem .8rem;
}
.warnings a { color: inherit; }
.note { color: var(--warn); font-size: .9rem; }
figure { flex: 1 1 20rem; margin: .8rem 0; max-width: min(100%, 34rem); }
figure img {
  background: #fff; border: 1px solid var(--line); border-radius: 6px; display: block; height: auto;
  max-width: 100%;
}
figcaption { padding-top: .3rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .9rem 3rem; }
  h1 { font-size: 1.5rem; }
  h2 { font-size: 1.2rem; }
  details.run { padding: .4rem .7rem; }
  th, td { padding: .25rem .5rem; }
  .cards thead { display: none; }
  .cards tr { border-bottom: 1px solid var(--line); display: block; padding: .4rem 0; }
  .cards th, .cards td { border: 0; display: block; padding: .1rem 0; text-align: left; }
  .cards td::before { color: var(--quiet); content: attr(data-label) ": "; }
}
@media print {
  :root {
    color-scheme: light; --ground: #fff; --text: #000; --quiet: #444; --line: #bbb;
    --panel: #f5f5f5; --link: #000; --warn: #000; --warn-ground: #fff; --warn-line: #666;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .values { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: .15rem .4rem; }
  tr, figure, li { break-inside: avoid; }
  h2, h3, h4, caption { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  details.run { border: 0; padding: 0; }
}
"""
