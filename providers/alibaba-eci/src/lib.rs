//! Image caches of Alibaba Cloud Elastic Container Instance (ECI): the provider `alibaba-eci`.
