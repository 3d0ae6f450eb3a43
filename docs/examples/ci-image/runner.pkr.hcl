# SPDX-License-Identifier: GPL-3.0-or-later
# A CI runner as an image of Compute Engine (googlecompute.runner), or on a machine that you can reach, to try it (null.runner);
# docs/ci_image.md has the commands.

variable "project" {
  type    = string
  default = "my-project"
}

variable "machine" {
  type    = string
  default = "192.0.2.10"
}

variable "user" {
  type    = string
  default = "packer"
}

variable "key" {
  type    = string
  default = ""
}

variable "variables" {
  type        = string
  default     = "vars.yml"
  description = "Who uses which repositories; no secret belongs in it."
}

source "googlecompute" "runner" {
  project_id          = var.project
  zone                = "europe-west1-b"
  source_image_family = "debian-12"
  image_family        = "ci-runner"
  image_name          = "ci-runner-{{timestamp}}"
  ssh_username        = var.user
  # The machine that builds needs no service account: no token is fetched before the image's first boot.
  disable_default_service_account = true
}

source "null" "runner" {
  ssh_host             = var.machine
  ssh_username         = var.user
  ssh_private_key_file = var.key
  ssh_agent_auth       = var.key == ""
}

build {
  sources = ["source.googlecompute.runner", "source.null.runner"]

  provisioner "shell" {
    inline = ["id runner >/dev/null 2>&1 || sudo useradd --create-home --shell /bin/bash runner"]
  }

  # Ends with a search of the whole image, which fails the build where it finds a credential.
  provisioner "ansible" {
    playbook_file = "${path.root}/runner.yml"
    use_proxy     = false
    user          = var.user
    extra_arguments = [
      "--extra-vars", "@${var.variables}",
      "--extra-vars", "ansible_python_interpreter=/usr/bin/python3",
    ]
  }

  # What each machine has to make for itself at its first boot. Nobody can log in to this one any more.
  provisioner "shell" {
    inline = [
      "sudo rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub",
      "sudo truncate --size=0 /etc/machine-id",
    ]
  }
}
