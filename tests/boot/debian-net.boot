# An installed Debian on a user network: systemd's DHCP client and name server's address, the gateway answers.
memory 512
options -nic user,model=virtio-net-pci
long debian-x86_64 node qemu

$ /lib/systemd/systemd-networkd-wait-online --timeout 60 && ip -4 -o addr show scope global | grep -o '10\.0\.2\.[0-9]*/24'
10.0.2.15/24
$ ip route show default | grep -o 'via [0-9.]*'
via 10.0.2.2
$ resolvectl dns | grep -c '10\.0\.2\.3'
1
$ ping -c 3 -q 10.0.2.2 | grep -o '3 received'
3 received
$ systemctl poweroff
{off}
