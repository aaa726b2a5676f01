#!/bin/sh

# PROVIDE: sie_dns_sensor
# REQUIRE: DAEMON ntpd
# KEYWORD: shutdown

# In rc.conf:
#
#     sie_dns_sensor_enable="YES"   Start the sensor with the system. Default: "NO".
#     sie_dns_sensor_config="PATH"  Its settings. Default: "/usr/local/etc/sie/dns-cache".
#     sie_dns_sensor_flags=""       More options of "sie-dns-sensor run": "--set log_level=debug".
#     sie_dns_sensor_user=""        Run all of it as this user, who must be able to open /dev/bpf (devfs.rules) and be
#                                   "user" and "upload_user" of the settings. Default: root starts it, and each process
#                                   that reads packets or talks to servers becomes the user that the settings say.
#     sie_dns_sensor_nice="5"       How far it yields to the rest of the host.
#
# "configtest" says what is wrong with the settings, or what the sensor would do with them. "reload" and "restart" do that
# first, and leave a sensor alone that would not start again.

. /etc/rc.subr

name="sie_dns_sensor"
desc="Passive DNS sensor"
rcvar="sie_dns_sensor_enable"

load_rc_config "$name"

: "${sie_dns_sensor_enable:=NO}"
: "${sie_dns_sensor_config:=/usr/local/etc/sie/dns-cache}"
: "${sie_dns_sensor_nice:=5}"

run_directory="/var/run/sie-dns-sensor"
pidfile="${run_directory}/pid"
command="/usr/local/bin/sie-dns-sensor"
required_files="${sie_dns_sensor_config}"
# rc.subr puts the flags before the arguments of the command; the subcommand has to be the first of all.
sie_dns_sensor_flags="run --daemon --pidfile ${pidfile} --config ${sie_dns_sensor_config} ${sie_dns_sensor_flags}"

extra_commands="reload configtest"
start_precmd="sie_dns_sensor_directory"
reload_precmd="sie_dns_sensor_settings"
restart_precmd="sie_dns_sensor_settings"
configtest_cmd="sie_dns_sensor_configtest"

# Of the pid file and the socket that "sie-dns-sensor status" asks; what is below /var/run is gone after a boot.
sie_dns_sensor_directory()
{
	install -d -m 0755 ${sie_dns_sensor_user:+-o "${sie_dns_sensor_user}"} "${run_directory}"
}

sie_dns_sensor_configtest()
{
	"${command}" check --config "${sie_dns_sensor_config}"
}

# What is wrong is on standard error.
sie_dns_sensor_settings()
{
	sie_dns_sensor_configtest >/dev/null
}

# Settings can be tested before the sensor is enabled.
case "$1" in
configtest) rcvar="" ;;
esac

run_rc_command "$1"
