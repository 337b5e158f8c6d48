# The local APIC's timer by its own count rather than by TSC deadline; the PM timer as the clock.
memory 128
append lapic=notscdeadline clocksource=acpi_pm
long debian-cloud-6.1 node qemu

$ cat /sys/devices/system/clockevents/clockevent0/current_device
lapic
$ cat /sys/devices/system/clocksource/clocksource0/current_clocksource
acpi_pm
$ date +%s
{now}
$ poweroff -f
{off}
