"""The report stage: a run directory in, `report/index.html` and its figures out."""

import logging
import shutil
from pathlib import Path

from lobula.data.atomic import atomic_write_text
from lobula.data.run_dir import RunDir
from lobula.report import page
from lobula.report.activity_sections import prediction_section, stimulus_section
from lobula.report.circuit_sections import (
    knowable_section,
    neuron_section,
    weight_section,
)
from lobula.report.detail_section import detail_section
from lobula.report.files import make_picture
from lobula.report.function_section import function_section
from lobula.report.inputs import ReportInputs, load_inputs
from lobula.report.neural_section import neural_section
from lobula.report.overview import head, run_facts, score_section
from lobula.report.readout_section import readout_section
from lobula.report.structure_section import structure_section
from lobula.report.training_section import training_section
from lobula.report.type_section import type_section

logger = logging.getLogger(__name__)

FOLDER = "report"
_SECTIONS = (
    stimulus_section,
    neural_section,
    score_section,
    weight_section,
    neuron_section,
    structure_section,
    function_section,
    readout_section,
    type_section,
    prediction_section,
    detail_section,
    knowable_section,
    training_section,
)


def make_report(run_dir: RunDir | str | Path) -> Path:
    """Draw and write the report of a run; an older one is replaced.

    The page is one file that works offline. Beside it lie a CSV of what every figure shows, every table as CSV, and the
    figures as files if `report.formats` asks for them. What a run does not hold (truth, scores, traces) is left out and
    said.

    Args:
        run_dir: a run directory whose stages have run.

    Returns:
        Path of `index.html`.

    Raises:
        MissingInputError: if there is no run, or nothing to report.
        StoreError: if something that a stage has written is damaged.
        DiskFullError: if there is no room; an older report is kept.
    """
    run = run_dir if isinstance(run_dir, RunDir) else RunDir.existing(run_dir)
    inputs = load_inputs(run)
    partial = run / f"{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write_report(inputs, partial, run.path.name)
        shutil.rmtree(run / FOLDER, ignore_errors=True)
        partial.rename(run / FOLDER)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("report: %s", run / FOLDER / "index.html")
    return run / FOLDER / "index.html"


def write_report(inputs: ReportInputs, folder: Path, run_name: str) -> None:
    """Write page, figures and tables into a new folder.

    Args:
        inputs: what the run holds.
        folder: made here.
        run_name: name of the run directory, for the command that repeats the run.
    """
    (folder / page.FIGURES).mkdir(parents=True)
    (folder / page.TABLES).mkdir()
    settings = inputs.config.report
    sections = [found for make in _SECTIONS if (found := make(inputs)) is not None]
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    shown = {e.name: make_picture(e, folder / page.FIGURES, settings.formats, settings.dark) for e in exhibits}
    best = shown.get(f"weights_{inputs.headline}")
    blocks = {}
    for section in sections:
        for table in (*section.tables, *(detail.table for detail in section.details)):
            atomic_write_text(folder / page.TABLES / f"{table.name}.csv", table.values.to_csv(index=False))
        tables = [block for table in section.tables for block in page.table(table, section.note)]
        figures = [page.figure(shown[exhibit.name]) for exhibit in section.exhibits]
        body = page.gallery([*figures, *tables, *map(page.detail, section.details)])
        blocks[section.slug] = page.section(section.slug, section.title, section.text, body)
    blocks["run"] = page.section("run", "This run", "", run_facts(inputs, run_name))
    opening = "" if best is None else page.image(best)
    parts = head(inputs) | {"navigation": page.navigation(list(blocks)), "sections": "\n".join(blocks.values())}
    atomic_write_text(folder / "index.html", page.fill_page(parts | {"opening": opening}, settings.dark))
