"""The addresses below /api/."""

from rest_framework.routers import DefaultRouter

from reader.api.views import OrderViewSet

router = DefaultRouter()
router.register("orders", OrderViewSet)

urlpatterns = router.urls
