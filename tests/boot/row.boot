# To the prompt and off again: what `cargo xtask test --long` does ten times in a row.
memory 512
long debian-cloud-6.1 qemu

$ echo here
here
$ poweroff -f
{off}
