"""The page's template (Jinja2). In a module, not in a file of its own, so that dvc.yaml's dependencies hold it."""

__all__ = ["TEMPLATE"]

_STYLE = """
:root { color-scheme: light; --line: #d4d4d4; --soft: #f5f5f3; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0 auto; max-width: 74rem;
  padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 2px solid #1b1b1b; } h3 { margin: 1.5rem 0 .3rem; }
p, dl, ul { max-width: 46rem; } dt { font-weight: 600; } dd { margin: 0 0 .5rem 1.2rem; }
code { font-size: .88em; overflow-wrap: anywhere; } nav ul { columns: 18rem; padding-left: 1.2rem; }
figure { margin: 1rem 0; } figure img { display: block; width: 100%; max-width: 62rem; height: auto; }
figcaption { max-width: 46rem; color: #444; }
.scroll { overflow-x: auto; max-height: 36rem; overflow-y: auto; border: 1px solid var(--line); margin: .5rem 0; }
.whole { max-height: none; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .22rem .55rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } th[scope=row], th[scope=rowgroup], thead th:first-child, .facts td { text-align: left; }
thead th { background: var(--soft); position: sticky; top: 0; } tbody th[scope=rowgroup] { background: var(--soft); }
th[scope=row] { font-weight: 400; min-width: 8.5rem; position: sticky; left: 0; background: #fff; } td { white-space: nowrap; } .facts td { white-space: normal; }
small { display: block; color: #333; } .dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; }
.bound th, .bound td { font-weight: 600; border-bottom: 2px solid #1b1b1b; }
.at { background: #cfe8dc; } .near { background: #e9f1cf; } .off { background: #fcecc4; } .far { background: #f7d3c6; }
summary { cursor: pointer; padding: .3rem 0; font-weight: 600; }
.key span { padding: .1rem .5rem; margin-right: .4rem; white-space: nowrap; }
@media (max-width: 40rem) { body { padding: .6rem; font-size: 15px; } }
@media print { body { max-width: none; font-size: 10pt; } .scroll { overflow: visible; max-height: none; border: 0; }
  table { font-size: 6.5pt; } figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; } figure img { max-height: 20cm; width: auto; max-width: 100%; } thead th { position: static; } nav { display: none; }
  .at, .near, .off, .far, .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

_MACROS = """
{% macro data(table, id, caption) %}
{% if table.rows %}
<div class="scroll" role="region" aria-label="{{ caption }}" tabindex="0">
<table id="{{ id }}">
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p id="{{ id }}">No scene of this evaluation has what this table counts.</p>
{% endif %}
{% endmacro %}
{% macro files(name) %}
<a href="{{ name }}.png">PNG</a>, <a href="{{ name }}.pdf">PDF</a>
{% endmacro %}
{% macro named(method, words) %}
<span class="dot" style="background:{{ method.colour }}"></span> {{ words }}
{% endmacro %}
{% macro glance_table(part) %}
<h3>{{ part.title }}</h3>
<p>{{ part.note }}</p>
<div class="scroll whole" role="region" aria-label="{{ part.title }}" tabindex="0">
<table>
<thead><tr><th scope="col">method</th>{% for snr in part.snrs %}<th scope="col">{{ snr }}</th>{% endfor %}</tr></thead>
{% if part.bound %}
<tbody class="bound"><tr><th scope="row">root-CRB (median)</th>
{% for value in part.bound %}<td>{{ value }}</td>{% endfor %}</tr></tbody>
{% endif %}
{% for words, lines in part.bodies if lines %}
<tbody>
<tr><th scope="rowgroup" colspan="{{ part.snrs | length + 1 }}">{{ words }}</th></tr>
{% for method, cells in lines %}
<tr><th scope="row">{{ named(method, method.short) }}</th>
{% for text, small, kind in cells %}
<td{% if kind %} class="{{ kind }}"{% endif %}>{{ text }}{% if small %}<small>{{ small }}</small>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
</div>
{% endmacro %}
"""

_READING = """
<section aria-labelledby="reading"><h2 id="reading">How to read this</h2>
<dl>
<dt>SNR</dt><dd>Power of the signal at the base station's antennas over the power of the noise, in dB: the expectation
over the symbols, averaged over snapshots and antennas. It is exact for each scene.</dd>
<dt>root-CRB</dt><dd>Square root of the Cramér-Rao bound of a source's position, in metres: no unbiased estimator has a
smaller rms error. Clipped to the deviation of the prior, and counted where that happens (<code>bounds_clipped</code>). Range
carries nearly all of it, so an efficient estimator's error is nearly one-dimensional and its <em>median</em> is 0.67
root-CRB: a ratio below one beats nothing. The oracle knows R_true and is not bound by it.</dd>
<dt>Position error</dt><dd>Distance of a source to the estimate assigned to it. A source without an estimate within
{{ "%g" | format(subject.cutoff) }} m is missed: its error is infinite, it stays in every median and every share. Columns
named <code>matched</code> alone leave missed sources out.</dd>
<dt>GOSPA</dt><dd>Of a scene, in metres: the root of the summed squared errors of assigned sources, plus half the squared
cut-off for each missed and each false source (p = 2, alpha = 2).</dd>
<dt>K rules</dt><dd>{% for name in rules.values() %}{{ name }}{{ ", or " if not loop.last }}{% endfor %}. Tables
give each rule its own rows: <code>_bic</code> at the end of a name means that the method had to find K by the Bayesian
information criterion; a plain spectrum then takes the K that the refinement of the same covariance found, the network's slots the
number of those that are more likely present than not. All methods know the same domain, K rule and noise power, except that
<code>_bic_noise</code> means that the noise power is unknown, too. NOMP with echoes always finds K itself; its rows stand under
both rules.</dd>
<dt>Resolved, unresolved</dt><dd><code>resolved</code>: share of scenes in which every error is below half the distance to
the nearest other source. <code>unresolved</code>: share of <em>reported</em> sources whose own fit says that it did not
converge or that its range is known no better than beforehand; empty where a method makes no fit.
<code>not_converged</code> counts scenes.</dd>
<dt>Resolution of a pair</dt><dd>Of the closest pair of a scene in (u, v): both sources are matched and both errors in (u, v)
are below half their separation. All in beams of wavelength / aperture (half a wavelength an element), in bins that end at
{{ edges }}; along a linear array's one coordinate alone.</dd>
<dt>Intervals</dt><dd>In brackets, at {{ confidence }}: order statistics for medians, Wilson for shares, bootstrap over scenes
(over batches for time) for means. Sources of one scene are taken as independent.</dd>
</dl></section>
"""

TEMPLATE = (
    _MACROS
    + """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Localisation beside the bound: {{ facts["Scenario"]["preset"] }}</title>
<style>"""
    + _STYLE
    + """</style>
</head>
<body>
<header>
<h1>Localisation beside the bound</h1>
<p>Scenario <strong>{{ facts["Scenario"]["preset"] }}</strong>: {{ facts["Data"]["scenes"] }} test scenes of seed
{{ facts["Data"]["seed"] }}, {{ scenes_per_cell }} for each SNR and K; {{ methods | length }} methods. Data checksum
<code>{{ facts["Data"]["checksum"] }}</code>. Made by <code>python -m pipeline evaluate</code>, the last stage of
<code>dvc repro</code>.</p>
<nav aria-label="Contents"><ul>
<li><a href="#glance">At a glance</a></li><li><a href="#reading">How to read this</a></li>
{% for figure in figures %}<li><a href="#{{ figure.name }}">{{ figure.title }}</a></li>{% endfor %}
<li><a href="#one-scene">One scene</a></li><li><a href="#training">Training</a></li><li><a href="#complete">Complete tables</a></li>
<li><a href="#facts">What this rests on</a></li><li><a href="#links">What else there is</a></li>
</ul></nav>
</header>
<main>
<section aria-labelledby="glance"><h2 id="glance">At a glance</h2>
<p class="key">Median error / root-CRB: <span class="at">up to 1</span><span class="near">up to 2</span>
<span class="off">up to 5</span><span class="far">more</span></p>
{% for part in glance %}{{ glance_table(part) }}{% endfor %}
</section>
"""
    + _READING
    + """
{% for figure in figures %}
<section aria-labelledby="{{ figure.name }}"><h2 id="{{ figure.name }}">{{ figure.title }}</h2>
<figure><img src="{{ images[figure.name] }}" alt="{{ figure.says }}">
<figcaption>{{ figure.says }}
Bars: {{ confidence }} intervals; points of one place stand side by side; a triangle at the top: infinite.
{{ files(figure.name) }}</figcaption></figure>
<details><summary>The numbers (<code>{{ figure.table }}.csv</code>)</summary>
{{ data(parts[figure.name], "numbers-" ~ figure.name, figure.title) }}
</details></section>
{% endfor %}
<section aria-labelledby="one-scene"><h2 id="one-scene">One scene</h2>
{% for name, says in scene.items() %}
<figure><img src="{{ images[name] }}" alt="{{ says }}"><figcaption>{{ says }} {{ files(name) }}</figcaption></figure>
{% endfor %}
</section>
<section aria-labelledby="training"><h2 id="training">Training</h2>
{% for name, caption in training.items() %}
<figure><img src="{{ images[name] }}" alt="{{ caption }}"><figcaption>{{ caption }} {{ files(name) }}</figcaption></figure>
{% endfor %}
</section>
<section aria-labelledby="complete"><h2 id="complete">Complete tables</h2>
{% for name, table in complete.items() %}
<details><summary><code>{{ name }}.csv</code></summary>
{% if table.rows %}<p><a href="../evaluate/{{ name }}.csv">{{ name }}.csv</a></p>{% endif %}
{{ data(table, "table-" ~ name, name) }}
</details>
{% endfor %}
</section>
<section aria-labelledby="facts"><h2 id="facts">What this rests on</h2>
<details><summary>Methods</summary>
<div class="scroll whole"><table>
<thead><tr><th scope="col">name</th><th scope="col">what it is</th><th scope="col">kind</th></tr></thead>
<tbody class="facts">
{% for method, group in methods %}
<tr><th scope="row"><code>{{ method.name }}</code></th><td>{{ named(method, method.text) }}</td><td>{{ group }}</td></tr>
{% endfor %}
{% for name, look in orders.items() %}
<tr><th scope="row"><code>{{ name }}</code></th><td>{{ look.text }}</td><td>number of sources alone</td></tr>
{% endfor %}
</tbody></table></div></details>
{% for title, values in facts.items() %}
<details><summary>{{ title }}</summary>
<div class="scroll whole"><table>
<thead><tr><th scope="col">name</th><th scope="col">value</th></tr></thead>
<tbody class="facts">
{% for name, value in values.items() %}
<tr><th scope="row"><code>{{ name }}</code></th><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table></div></details>
{% endfor %}
</section>
<section aria-labelledby="links"><h2 id="links">What else there is</h2>
<ul>
{% for link, words in links.items() %}<li><a href="{{ link }}">{{ words }}</a></li>{% endfor %}
</ul>
<p><code>make ui</code> shows every run with these numbers in MLflow (<code>report</code>: this page among its
artifacts), <code>dvc plots show</code> the curves, <code>dvc metrics diff</code> what a change has done to them.</p>
</section>
</main>
</body>
</html>
"""
)
"""Takes what `stages.reporting.page.page` gives it."""
