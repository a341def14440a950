"""The page's one style: light and dark, wide and narrow, screen and paper. The page's policy admits its hash only."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

__all__ = ["POLICY", "STYLE"]

STYLE: Final = """
:root{color-scheme:light dark;--bg:#fbfbf9;--card:#fff;--ink:#1c2127;--soft:#59626c;--line:#dfe2e1;--same:#0d7a6b;
--other:#d2601a;--curve:#2457b3;--warn:#9a5b00;--shade:#f1f3f2}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e7eaec;--soft:#a1abb4;--line:#343a40;
--same:#43c2ad;--other:#f3935a;--curve:#7fa8f5;--warn:#e5b15a;--shade:#23282d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.25rem}
h1{font-size:2rem;line-height:1.2;margin:.1rem 0 .35rem;letter-spacing:-.015em;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.75rem 0 .75rem;padding-bottom:.35rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .35rem}.chart h3{margin-top:0}
p{margin:.4rem 0;max-width:46rem}
.kind{color:var(--soft);font-weight:600;font-size:.85rem;letter-spacing:.04em;margin:0}
.facts,.note,figcaption,.sub{color:var(--soft);font-size:.875rem}
.facts{overflow-wrap:anywhere}
.lead{font-size:1.1rem;margin:1.25rem 0 0;padding:.1rem 0 .1rem 1rem;border-left:4px solid var(--curve)}
.warn{border-left-color:var(--warn)}
nav{margin-top:1.1rem;font-size:.9rem;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}
a{color:var(--curve)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.8rem;margin:1.5rem 0 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}
.card dt{font-size:.875rem;color:var(--soft)}
.card dd{margin:0}
.card .value{font-size:1.65rem;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));gap:1rem}
figure{margin:0}
.chart{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem;min-width:0}
.plot{display:block;width:100%;height:auto;font-size:14px}
.plot text{fill:var(--soft)}
.plot .label{fill:var(--ink)}
.plot .halo{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--line);fill:none;stroke-width:1}
.frame{stroke:var(--soft);fill:none}
.line{fill:none;stroke:var(--curve);stroke-width:2.2;stroke-linejoin:round}
.guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 5}
.area{stroke-width:1.5;fill-opacity:.28}
.area.same{fill:var(--same);stroke:var(--same)}
.area.other{fill:var(--other);stroke:var(--other)}
.rule{stroke:var(--ink);stroke-dasharray:5 4;stroke-width:1.2}
.mark circle{fill:var(--card);stroke:var(--curve);stroke-width:2.2}
.mark .whisker{stroke:var(--curve);stroke-width:1.6;fill:none}
.mark.equal circle{stroke:var(--other);fill:var(--other)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:0 0 .4rem;padding:0;font-size:.85rem}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:3px;margin-right:.45em;background:var(--same)}
.swatch.other{background:var(--other)}
.swatch.mark{background:none;border:2px solid var(--curve);border-radius:50%}
.swatch.equal{background:var(--other);border-radius:50%}
.scroll{overflow-x:auto}.charts+.scroll{margin-top:1rem}
table{border-collapse:collapse;width:100%;font-size:.925rem;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;padding:.45rem .8rem;border-bottom:1px solid var(--line);vertical-align:top}
thead th{background:var(--shade);font-size:.85rem;white-space:nowrap}
tbody th{font-weight:600}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
table.card-of-model{width:auto;min-width:min(100%,34rem)}
.long{overflow-wrap:anywhere;max-width:46rem}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:.8rem;padding:0;margin:0;
list-style:none}
.pair{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.7rem;break-inside:avoid}
.pair p{margin:0 0 .45rem;font-variant-numeric:tabular-nums;font-size:.9rem}
.faces{display:grid;grid-template-columns:1fr 1fr;gap:.6rem}
.pairs.small{grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr))}
.group+.group{margin-top:2.5rem}.group .chart{margin-bottom:.8rem}
.faces.one{grid-template-columns:1fr}
.shot{position:relative;min-width:0}
.shot img,.nothing{display:block;width:100%;height:auto;aspect-ratio:1;border-radius:6px;background:var(--shade)}
.nothing{display:grid;place-items:center;color:var(--soft);font-size:.85rem}
.shot figcaption{font-size:.78rem;overflow-wrap:anywhere;line-height:1.35;margin-top:.3rem}
.flag{position:absolute;top:.3rem;left:.3rem;background:var(--card);color:var(--warn);border-radius:4px;padding:0 .4rem;
font-size:.75rem}
code,pre{font:.875rem/1.5 ui-monospace,"SF Mono",Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--shade);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;white-space:pre-wrap;
overflow-wrap:anywhere;margin:.4rem 0}
footer{color:var(--soft);font-size:.85rem;padding-top:2.5rem;padding-bottom:2.5rem}
@media(max-width:40rem){header{padding-top:1.25rem}h1{font-size:1.55rem}.card .value{font-size:1.45rem}
.cards{grid-template-columns:1fr 1fr;gap:.5rem}.card{padding:.6rem .7rem}.chart{padding:.7rem}.plot{font-size:18px}
th,td{padding:.4rem .55rem}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--same:#0d7a6b;
--other:#b94e0d;--curve:#2457b3;--warn:#7a4700;--shade:#f3f3f3}nav{display:none}body{font-size:11pt}
main,header,footer{max-width:none}.chart,.card,tr{break-inside:avoid}h2{break-after:avoid}
.charts{grid-template-columns:1fr 1fr}.pairs{grid-template-columns:1fr 1fr 1fr}*{print-color-adjust:exact}}
"""

_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY: Final = f"default-src 'none'; img-src data:; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy: no scripts, no connections, no styles but this one, no pictures but those inside."""
