#!/bin/sh
# Turns Buildroot's root file system into the appliance's: what `weir agent` starts is started by
# nobody else, and what is made at the first boot lies on the data partition.

set -eu

target=$1
weir="$BR2_EXTERNAL_WEIR_PATH/.."

rm -f "$target"/etc/init.d/S*
for folder in etc/dropbear etc/network root media opt; do
	rm -rf "${target:?}/$folder"
done

for folder in boot data etc/weir proc run sys tmp usr/lib/weir usr/share/weir/update-keys var; do
	mkdir -p "$target/$folder"
done
ln -sf weir "$target/usr/bin/weir-login"
mkdir -p "$target/usr/lib/weir"
ln -sf ../../bin/weir "$target/usr/lib/weir/lease"
ln -sf ../run/resolv.conf "$target/etc/resolv.conf"

# The keys that updates are signed with: one or more files of minisign.
keys=${WEIR_UPDATE_KEYS:-$weir/target/image/keys}
found=false
for key in "$keys"/*.pub; do
	[ -e "$key" ] || continue
	install -m 0644 "$key" "$target/usr/share/weir/update-keys/"
	found=true
done
$found || {
	echo "weir: $keys has no public key (*.pub): say with WEIR_UPDATE_KEYS where yours are" >&2
	exit 1
}

version=$(sed -n 's/^WEIR_VERSION = //p' "$BR2_EXTERNAL_WEIR_PATH/package/weir/weir.mk")
version="$version+${WEIR_BUILD:-0}"
printf '%s\n' "$version" >"$target/usr/share/weir/version"
printf 'format = 1\nversion = %s\narch = x86_64\nconfig-format = 1\n' "$version" \
	>"$target/usr/share/weir/manifest"
install -d "$target/usr/share/weir/licences"
install -m 0644 "$weir/LICENSE-APACHE" "$weir/LICENSE-MIT" "$target/usr/share/weir/licences/"
