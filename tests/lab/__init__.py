# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway systemd machines and the emulated Google, for the demo and the tests."""
