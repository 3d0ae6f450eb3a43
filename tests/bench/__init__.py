# SPDX-License-Identifier: GPL-3.0-or-later
"""Side-by-side benchmarks of the collection: `python -m bench` prints tables and writes JSON."""
