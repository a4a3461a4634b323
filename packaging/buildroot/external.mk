include $(sort $(wildcard $(BR2_EXTERNAL_XENOLITH_PATH)/package/*/*.mk))
