################################################################################
#
# xenolith
#
################################################################################

XENOLITH_VERSION = local
XENOLITH_SITE = $(BR2_EXTERNAL_XENOLITH_PATH)/../..
XENOLITH_SITE_METHOD = local
XENOLITH_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target
XENOLITH_LICENSE = MIT or Apache-2.0
XENOLITH_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
XENOLITH_INSTALL_IMAGES = YES

define XENOLITH_BUILD_CMDS
	cd $(@D) && env -u CARGO_HOME -u RUSTFLAGS cargo xtask dist --files
endef

define XENOLITH_INSTALL_TARGET_CMDS
	for package in lith lithd; do \
		cp -R $(@D)/target/dist/$$package/. $(TARGET_DIR)/ || exit 1; \
	done
endef

define XENOLITH_INSTALL_IMAGES_CMDS
	cp $(@D)/target/dist/xenolith-hypervisor/boot/xenolith.img $(BINARIES_DIR)/
endef

# The units come with the files; busybox's init gets scripts.
define XENOLITH_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(XENOLITH_PKGDIR)/S80lithd $(TARGET_DIR)/etc/init.d/S80lithd
	$(INSTALL) -D -m 0755 $(XENOLITH_PKGDIR)/S90lith-guests $(TARGET_DIR)/etc/init.d/S90lith-guests
endef

$(eval $(generic-package))
