# SPDX-License-Identifier: GPL-3.0-or-later
# Packer 1.7 and newer fetches what older ones have built in: packer init .
packer {
  required_plugins {
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "~> 1"
    }
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = "~> 1"
    }
  }
}
