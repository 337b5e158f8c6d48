# Time by the HPET: its counter as the clock, its comparator for the ticks, by the IOAPIC.
memory 128
append nolapic_timer clocksource=hpet
long debian-cloud-6.1 node qemu

$ cat /sys/devices/system/clockevents/clockevent0/current_device
hpet
$ cat /sys/devices/system/clocksource/clocksource0/current_clocksource
hpet
$ date +%s
{now}
$ poweroff -f
{off}
