#!/bin/sh
# Makes the disk of kernel, root file system and GRUB, with the files that the image from Debian
# packages is made of: image/initrd/init, image/boot/*.

set -eu

images=$1
weir="$BR2_EXTERNAL_WEIR_PATH/.."
work="$BUILD_DIR/weir-image"
input="$work/input"
boot="$input/boot"

rm -rf "$work"
mkdir -p "$boot/EFI/BOOT" "$boot/grub" "$boot/slot-a" "$boot/slot-b" "$boot/setup" \
	"$work/first/bin" "$work/first/dev" "$work/first/root" "$work/empty" "$work/tmp"

# Writes bytes, given in octal, into a file that stays as long as it is.
put() {
	# shellcheck disable=SC2059 # the bytes are the format
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# The slot: the kernel, and a first file system with the root file system in it.
cp "$images/bzImage" "$boot/slot-a/vmlinuz"
cp "$TARGET_DIR/bin/busybox" "$work/first/bin/busybox"
for applet in echo insmod losetup mount sh sleep switch_root; do
	ln -s busybox "$work/first/bin/$applet"
done
install -m 0755 "$weir/image/initrd/init" "$work/first/init"
cp "$images/rootfs.squashfs" "$work/first/root.squashfs"
find "$work/first" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
(
	cd "$work/first"
	find . | LC_ALL=C sort | cpio -o -H newc --owner=0:0 --reproducible --quiet
) >"$boot/slot-a/initrd"
{
	cat "$TARGET_DIR/usr/share/weir/manifest"
	for file in vmlinuz initrd; do
		size=$(stat -c %s "$boot/slot-a/$file")
		sum=$(sha256sum "$boot/slot-a/$file")
		printf 'file = %s %s %s\n' "$file" "$size" "${sum%% *}"
	done
} >"$boot/slot-a/manifest"

# GRUB: the same menu and the same block of variables on BIOS and UEFI.
cp "$images/efi-part/EFI/BOOT/bootx64.efi" "$boot/EFI/BOOT/BOOTX64.EFI"
words=$(tr '\n' ' ' <"$weir/image/boot/words")
sed "s|@WORDS@|${words% }|" "$weir/image/boot/grub.cfg" >"$boot/grub/grub.cfg"
printf '# GRUB Environment Block\nslot=a\ntrial=\ntried=0\nargs=\n' >"$work/block"
length=$(stat -c %s "$work/block")
{
	cat "$work/block"
	head -c $((1024 - length)) /dev/zero | tr '\0' '#'
} >"$boot/grub/grubenv"
[ ! -e "$weir/image/boot/setup.txt" ] || cp "$weir/image/boot/setup.txt" "$boot/setup/README.txt"

# What grub-install would write: core.img begins at sector 2048, its rest one sector later.
cp "$BUILD_DIR"/grub2-*/build-i386-pc/grub-core/boot.img "$input/boot.img"
cp "$images/grub.img" "$input/core.img"
put "$input/boot.img" 92 '\000\010\000\000\000\000\000\000'
put "$input/boot.img" 102 '\220\220'
truncate -s 440 "$input/boot.img"
put "$input/core.img" 500 '\001\010\000\000\000\000\000\000'
rest=$((($(stat -c %s "$input/core.img") + 511) / 512 - 1))
put "$input/core.img" 508 "$(printf '\\%03o\\%03o' $((rest % 256)) $((rest / 256)))"

"$HOST_DIR/bin/genimage" --config "$weir/image/boot/genimage.cfg" --inputpath "$input" \
	--outputpath "$images" --rootpath "$work/empty" --tmppath "$work/tmp"
