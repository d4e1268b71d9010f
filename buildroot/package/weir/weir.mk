################################################################################
#
# weir
#
################################################################################

WEIR_VERSION = 0.1.0
# Made by `cargo xtask source`: the source and all its crates, so nothing is
# downloaded while it is built.
WEIR_SITE = $(BR2_EXTERNAL_WEIR_PATH)/../dist
WEIR_SITE_METHOD = file
WEIR_SOURCE = weir-$(WEIR_VERSION)-source.tar.gz
BR_NO_CHECK_HASH_FOR += $(WEIR_SOURCE)
WEIR_LICENSE = Apache-2.0 or MIT
WEIR_LICENSE_FILES = LICENSE-APACHE LICENSE-MIT
WEIR_CARGO_BUILD_OPTS = --package weir --bin weir

# The profile of the repository, which the infrastructure replaces by its own:
# one unit of code and link-time optimisation are worth a third of the speed.
WEIR_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1" \
	CARGO_PROFILE_RELEASE_LTO="fat"

define WEIR_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/release/weir \
		$(TARGET_DIR)/usr/bin/weir
endef

$(eval $(cargo-package))
