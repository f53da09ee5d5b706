//! Development cloud that speaks the device protocol of Alibaba Cloud IoT OTA.
