# The oldest chips alone: interrupts by the 8259s, time by the 8254.
memory 128
append nolapic hpet=disable
long debian-cloud-6.1 node qemu

$ cat /sys/devices/system/clockevents/clockevent0/current_device
pit
$ grep -c IO-APIC /proc/interrupts
0
$ grep -q ' XT-PIC  *timer' /proc/interrupts && echo by the PIC
by the PIC
$ date +%s
{now}
$ poweroff -f
{off}
