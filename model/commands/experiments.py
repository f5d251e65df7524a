"""Remake the lecture and the papers' studies, and write synthetic pictures as files."""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from model.commands.commit import origin
from model.commands.train import learn
from model.errors import InputError
from model.experiments import lecture as lectures
from model.experiments import study as studies
from model.experiments import synthetic as pictures
from model.experiments.results import Results
from model.experiments.synthetic import Switches


def lecture(arguments: argparse.Namespace) -> int:
    """Train, evaluate, and write the page; resume where it was stopped. InputError for too few photos, before any net is trained."""
    torch.set_num_threads(arguments.threads)
    plan, results = _lecture_plan(arguments), Results(arguments.out)
    folders = lectures.Folders(
        arguments.photos, arguments.gallery, arguments.voc, arguments.camvid, arguments.cache
    )
    photographs = lectures.measure(plan, arguments.nets, folders, results, learn)
    print(f"the page: {lectures.publish(results, plan, photographs, origin('make lecture'))}")
    return 0


def study(arguments: argparse.Namespace) -> int:
    """Draw, train, evaluate, and write study.json and study.md; resume where it was stopped."""
    torch.set_num_threads(arguments.threads)
    plan, results = studies.PLANS[arguments.plan], Results(arguments.out)
    method, net = arguments.method, arguments.net
    rows = studies.measure(plan, arguments.switches, method, net, results, learn)
    print(studies.publish(results, plan, method, net, rows, origin("python -m model study")))
    return 0


def synthetic(arguments: argparse.Namespace) -> int:
    """Draw what is asked for. InputError for switches that do not exist."""
    options = pictures.Options(Switches.of(arguments.switches), arguments.side)
    pictures.write(arguments.out, options, arguments.count, arguments.seed)
    print(
        f"{arguments.count} pictures in {arguments.out}: class/, pose/ and mask/ hold the same, each with its own labels"
    )
    return 0


def _lecture_plan(arguments: argparse.Namespace) -> lectures.Plan:
    plan = replace(lectures.PLANS[arguments.plan](), protocol=arguments.protocol)
    if not arguments.labels:
        return plan
    if min(arguments.labels) < 1:
        raise InputError(f"--labels are counts from 1 on, not {min(arguments.labels)}")
    return replace(plan, labels=tuple(sorted(set(arguments.labels))))
